package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

// webhookMethods are the methods that a webhook may have.
var webhookMethods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

// hopHeaders are headers that belong to the connection.
var hopHeaders = []string{"Connection", "Content-Length", "Host", "Transfer-Encoding", "Upgrade"}

// readRequestForm reads the keys that give a webhook another form than the
// default one.
func (w *Webhook) readRequestForm(k Keys) {
	w.Method = strings.ToUpper(k.Text("method", ""))
	if k.Has("method") && !slices.Contains(webhookMethods, w.Method) {
		k.Fault("method", "%s is not a method; allowed: %s", k.Show("method", w.Method), strings.Join(webhookMethods, ", "))
	}
	headers := k.Table("headers", `a table of strings, like { Authorization = "Bearer ..." }`)
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value := headers[name]
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			k.Fault("headers", "%s is not the name of a header; allowed: letters, digits and hyphens, like Authorization", k.Show("headers", name))
		case slices.Contains(hopHeaders, http.CanonicalHeaderKey(name)):
			k.Fault("headers", "%s is set by Vigil itself", k.Show("headers", name))
		case !httpguts.ValidHeaderFieldValue(value):
			k.Fault("headers", "the value of %s holds a control character; allowed: one line of text", k.Show("headers", name))
		}
		k.CheckSecret("headers", value)
		if w.Headers == nil {
			w.Headers = make(map[string]Secret)
		}
		w.Headers[http.CanonicalHeaderKey(name)] = Secret(value)
	}
	if w.Body = k.Text("body", ""); w.Body == "" {
		return
	}
	if w.Method == "GET" {
		k.Fault("body", "is not sent with GET; allowed: another method")
	}
	if _, err := parseBody(w.Body); err != nil {
		k.Fault("body", "is not a template: %v", err)
	} else if err := w.tryBody(); err != nil {
		k.Fault("body", "%v", err)
	}
}

// parseBody parses a template of a body. An unknown field is an error.
func parseBody(text string) (*template.Template, error) {
	t, err := template.New("body").Option("missingkey=error").Funcs(template.FuncMap{"json": templateJSON}).Parse(text)
	if err != nil {
		return nil, templateError(err)
	}
	return t, nil
}

// templateJSON is a value as JSON.
func templateJSON(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// templateError is an error of a template without the template's name.
func templateError(err error) error {
	return errors.New(strings.NewReplacer("template: body:", "line ", "template: ", "").Replace(err.Error()))
}

// tryBody renders an alert of each kind, so that a template that fails is a
// mistake in the config and not a lost alert.
func (w *Webhook) tryBody() error {
	now := time.Now()
	down := Outage{
		ID: "example", Service: "web", Node: "shop", ServiceLabel: "Website", NodeLabel: "Shop", Status: Dead, Since: now, New: true,
		Instances: 1, Replicas: []Replica{{Path: "web:shop:https://shop.example.com/", Reason: "HTTP 503"}},
	}
	back := down
	back.New, back.Over, back.Status, back.Until = false, true, Healthy, now
	page := Page{Title: "Acme Status", URL: "https://status.example.com/"}
	for _, a := range []Alert{
		{Kind: Changed, Status: Dead, Outages: []Outage{down}},
		{Kind: Changed, Status: Healthy, Outages: []Outage{back}},
		{Kind: Reminder, Status: Dead, Outages: []Outage{down}, Reminders: 1},
		{Kind: Startup, Status: Healthy},
	} {
		a.ID, a.Time, a.Page = "example", now, page
		if _, err := w.body(a, now); err != nil {
			return fmt.Errorf("fails for an example alert of type %q with status %q: %w", a.Kind, a.Status, err)
		}
	}
	return nil
}

// body renders the template for an alert. Its fields are those of the default
// body, all of them always there, and the message as text.
func (w *Webhook) body(a Alert, now time.Time) ([]byte, error) {
	body, err := parseBody(w.Body)
	if err != nil {
		return nil, err
	}
	payload := newWebhookPayload(a, now)
	raw, err := json.Marshal(payload)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{"note": "", "reminder": 0, "merged": 0, "repeat": false, "late_seconds": 0, "test": false}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil {
		return nil, err
	}
	fields["replicas_total"] = max(payload.ReplicasTotal, len(payload.Replicas))
	fields["outages_total"] = max(payload.OutagesTotal, len(payload.Outages))
	t := newText(a, now)
	fields["subject"] = t.subject
	fields["text"] = plainStyle(0, utf8.RuneCountInString).message(t)
	var b bytes.Buffer
	if err := body.Execute(&b, fields); err != nil {
		return nil, templateError(err)
	}
	return b.Bytes(), nil
}
