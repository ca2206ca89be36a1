package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
)

// matchJSON checks that each path leads to a value in the body that its
// expression matches.
func matchJSON(body []byte, matches []JSONMatch, seen *trace) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // which stay as they are written
	var root any
	if err := d.Decode(&root); err != nil {
		return badAnswer("body is not JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return badAnswer("body is more than one JSON value")
	}
	for _, m := range matches {
		value, err := walkJSON(root, m.Steps)
		if err != nil {
			return err
		}
		text, err := jsonText(value)
		if err != nil {
			return badAnswerf("JSON: %s %v", m.Path, err)
		}
		matched := m.Match.MatchString(text)
		seen.match("http_json_healthy_match."+m.Path, m.Match.String(), matched)
		if !matched {
			return badAnswerf("JSON: %s is %s, which did not match", m.Path, shorten(text))
		}
	}
	return nil
}

// walkJSON returns the value that the steps lead to; the error says how far they
// led.
func walkJSON(value any, steps []JSONStep) (any, error) {
	led := "the body"
	for i, step := range steps {
		if step.Key != nil {
			object, ok := value.(map[string]any)
			if !ok {
				return nil, badAnswerf("JSON: %s is %s, not an object with %q", led, jsonKind(value), *step.Key)
			}
			if value, ok = object[*step.Key]; !ok {
				return nil, badAnswerf("JSON: %s has no %q", led, *step.Key)
			}
		} else {
			list, ok := value.([]any)
			if !ok {
				return nil, badAnswerf("JSON: %s is %s, not a list", led, jsonKind(value))
			}
			if step.Index >= len(list) {
				return nil, badAnswerf("JSON: %s has %d items, no [%d]", led, len(list), step.Index)
			}
			value = list[step.Index]
		}
		led = jsonPath(steps[:i+1])
	}
	return value, nil
}

// jsonPath writes steps as they stand in a config.
func jsonPath(steps []JSONStep) (path string) {
	for _, step := range steps {
		switch {
		case step.Key == nil:
			path += "[" + strconv.Itoa(step.Index) + "]"
		case path == "":
			path = *step.Key
		default:
			path += "." + *step.Key
		}
	}
	return path
}

// jsonText returns a value as expressions see it: text as it is, and numbers,
// booleans and null as they are written.
func jsonText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	case nil:
		return "null", nil
	}
	return "", badAnswerf("is %s, not a single value", jsonKind(value))
}

func jsonKind(value any) string {
	switch value.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return "text"
	case json.Number:
		return "a number"
	case bool:
		return "a boolean"
	}
	return "null"
}
