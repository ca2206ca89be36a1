package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const announceUsage = `usage: vigil announce [flags] "Title" [text]
       vigil announce -update ID [-state STATE] text
       vigil announce -edit ID [-revision N] [flags] ["Title" [text]]
       vigil announce -list | -remove ID

Publishes an announcement on the status page and prints its id, adds an update
to one, changes what one says, lists them, or removes one. Without a text, the
title is the text.

  -service selector   what it is about: a service, or a node as service:node;
                      may be given many times
  -state state        investigating, identified, monitoring or resolved; makes
                      it an incident. A resolved one moves to the history
  -until time         when it disappears: 22:00, 2026-11-26T22:00:00Z, or after
                      how long, like 2h30m
  -update id          add an update to this announcement
  -edit id            change this announcement; what is not given stays, and an
                      empty -service, -state or -until takes it away
  -revision n         with -edit: only if nobody has changed the announcement
                      since it was at this revision, which -list prints
  -list               list the announcements
  -remove id          remove this announcement
` + clientHelp + `
examples:

  vigil announce "Slow uploads" "We look into it." -service web
  vigil announce -update ID -state resolved "Uploads are fast again."
  vigil announce -edit ID -revision 2 "Slow uploads in Europe"

Exit status: 0 if it is done, 1 if not, 2 for wrong usage.
`

// runAnnounce is "vigil announce".
func runAnnounce(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil announce", flag.ContinueOnError)
	var services []string
	fs.Func("service", "", func(s string) error { services = append(services, s); return nil })
	state := fs.String("state", "", "")
	until := fs.String("until", "", "")
	update := filledFlag(fs, "update", "an id")
	edit := filledFlag(fs, "edit", "an id")
	revision := fs.Int("revision", 0, "")
	remove := filledFlag(fs, "remove", "an id")
	list := fs.Bool("list", false, "")
	c := newClientCommand(fs, announceUsage, stdout, stderr)
	var end time.Time
	check := func() (err error) {
		given := 0
		for _, is := range []bool{*list, *remove != "", *update != "", *edit != ""} {
			if is {
				given++
			}
		}
		switch n := len(c.args); {
		case given > 1:
			return errors.New("-list, -update, -edit and -remove exclude each other")
		case *revision < 0 || *revision > 0 && *edit == "":
			return errors.New("-revision takes a number from 1 up, and goes with -edit")
		case *list || *remove != "":
			return c.noArgs()
		case *edit != "" && n > 2:
			return fmt.Errorf("want a title and a text at most, got %d arguments: are they in quotes?", n)
		case *edit != "" && n == 0 && !isSet(fs, "service", "state", "until"):
			return errors.New("nothing to change: want a title, a title and a text, or -service, -state or -until")
		case *edit != "":
		case *update != "" && (len(services) > 0 || *until != ""):
			return errors.New("an update takes -state and a text only")
		case *update != "" && n != 1:
			return fmt.Errorf("want one text, got %d arguments: is it in quotes?", n)
		case *update == "" && (n < 1 || n > 2):
			return fmt.Errorf("want a title and a text, got %d arguments: are they in quotes?", n)
		}
		if *until != "" {
			end, err = parseUntil(*until, time.Now())
		}
		return err
	}
	return c.run(ctx, args, check, func(ctx context.Context) (int, error) {
		switch {
		case *list:
			return exitOK, c.listAnnouncements(ctx)
		case *remove != "":
			err := c.client.call(ctx, http.MethodDelete, "announcement/"+url.PathEscape(*remove)+"/", nil, nil)
			return exitOK, c.done(err, "Removed.", *remove)
		case *update != "":
			body := map[string]string{"text": c.args[0]}
			if *state != "" {
				body["state"] = *state
			}
			err := c.client.call(ctx, http.MethodPost, "announcement/"+url.PathEscape(*update)+"/update/", body, nil)
			return exitOK, c.done(err, "Updated.", *update)
		case *edit != "":
			err := c.editAnnouncement(ctx, *edit, *revision, func(a *announcementJSON) {
				for i, to := range []*string{&a.Title, &a.Text} {
					if i < len(c.args) && c.args[i] != "" {
						*to = c.args[i]
					}
				}
				if len(services) > 0 {
					a.Selectors = slices.DeleteFunc(services, func(s string) bool { return s == "" })
				}
				if isSet(fs, "state") {
					a.State = textOrNil(*state)
				}
				if *state != "" {
					a.Type = announcementTypes[1]
				}
				if isSet(fs, "until") {
					a.Until = timeOrNil(end)
				}
			})
			return exitOK, c.done(err, "Changed.", *edit)
		}
		body := map[string]any{"title": c.args[0], "text": c.args[len(c.args)-1]}
		if len(services) > 0 {
			body["selectors"] = services
		}
		if *state != "" {
			body["type"], body["state"] = "incident", *state
		}
		if !end.IsZero() {
			body["until"] = end
		}
		var made struct {
			ID string `json:"id"`
		}
		err := c.client.call(ctx, http.MethodPost, "announcement/", body, &made)
		return exitOK, c.done(err, "Published as "+made.ID+".", made.ID)
	})
}

// editAnnouncement changes an announcement. The server refuses it when somebody
// else has changed that since it was at the revision; 0 is the one it is at now.
func (c *clientCommand) editAnnouncement(ctx context.Context, id string, revision int, change func(*announcementJSON)) error {
	path := "announcement/" + url.PathEscape(id) + "/"
	var a announcementJSON
	if err := c.client.call(ctx, http.MethodGet, path, nil, &a); err != nil {
		return err
	}
	change(&a)
	return c.client.call(ctx, http.MethodPut, path, map[string]any{"title": a.Title, "text": a.Text, "type": a.Type, "selectors": a.Selectors,
		"state": a.State, "until": a.Until, "revision": cmp.Or(revision, a.Revision)}, nil)
}

// isSet reports whether one of the flags was given.
func isSet(fs *flag.FlagSet, names ...string) (set bool) {
	fs.Visit(func(f *flag.Flag) { set = set || slices.Contains(names, f.Name) })
	return set
}

// parseUntil parses the end of a span that begins now: how long, or until when.
func parseUntil(s string, now time.Time) (time.Time, error) {
	if d, err := parseDuration(s); err == nil {
		return now.Add(d), nil
	}
	t, err := parseTime(s, now, false)
	if err != nil {
		return t, fmt.Errorf("-until %q: want a duration like 2h30m, or a time like 22:00 or 2026-11-26T22:00:00Z", s)
	}
	if !t.After(now) {
		return t, fmt.Errorf("-until %q is in the past", s)
	}
	return t, nil
}

// done prints that a call succeeded, in words or as JSON with the id of what it
// was about. It returns the error, if there is one.
func (c *clientCommand) done(err error, words, id string) error {
	if err != nil {
		return err
	}
	if c.flags.json {
		return c.out.json(map[string]string{"id": id})
	}
	fmt.Fprintln(c.stdout, words)
	return nil
}

func (c *clientCommand) listAnnouncements(ctx context.Context) error {
	var titles []announcementTitle
	if err := c.client.call(ctx, http.MethodGet, "announcements/", nil, &titles); err != nil {
		return err
	}
	all := []announcementJSON{}
	for _, t := range titles {
		var a announcementJSON
		err := c.client.call(ctx, http.MethodGet, "announcement/"+url.PathEscape(t.ID)+"/", nil, &a)
		if fault, ok := errors.AsType[*apiFault](err); ok && fault.code == http.StatusNotFound {
			continue // removed in between
		}
		if err != nil {
			return err
		}
		all = append(all, a)
	}
	if c.flags.json {
		return c.out.json(all)
	}
	if len(all) == 0 {
		fmt.Fprintln(c.stdout, "No announcements.")
		return nil
	}
	now := time.Now()
	rows := [][]cell{plain("ID", "REVISION", "PUBLISHED", "STATE", "ABOUT", "TITLE")}
	for _, a := range all {
		state := ""
		if a.State != nil {
			state = *a.State
		}
		rows = append(rows, plain(a.ID, strconv.Itoa(a.Revision), localTime(a.Published, now), state, strings.Join(a.Selectors, " "), a.Title))
	}
	c.out.columns(rows)
	return nil
}

const maintenanceUsage = `usage: vigil maintenance SELECTOR... -for 2h [-at 22:00] "Title"
       vigil maintenance -list | -end ID

Plans a maintenance, or begins one now, and prints its id. Its nodes are checked
as usual, but send no alerts; the page shows it, and its time counts neither as
up nor as down. Alerts about nodes still dead at its end are sent then.

  -for time           how long it takes, like 30m, 2h30m or 1d; required
  -at time            when it begins: 22:00 today or tomorrow, or
                      2026-11-26T22:00:00Z; default: now
  -text text          more than the title, for visitors
  -list               list running and planned ones
  -end id             end a running one now, or cancel a planned one
` + clientHelp + `
A selector is a service, a node as service:node, or * for all.

examples:

  vigil maintenance db -for 2h -at 22:00 "Database upgrade"
  vigil maintenance -list

Exit status: 0 if it is done, 1 if not, 2 for wrong usage.
`

const silenceUsage = `usage: vigil silence SELECTOR... -for 2h "why"
       vigil silence -list | -end ID

Begins a silence and prints its id: its nodes are checked and shown as usual,
but send no alerts. Alerts about nodes still dead at its end are sent then.

  -for time           how long it lasts, like 30m, 2h30m or 1d; required
  -list               list running ones
  -end id             end one now
` + clientHelp + `
A selector is a service, a node as service:node, or * for all.

examples:

  vigil silence web:shop -for 2h "load test"
  vigil silence -end ID

Exit status: 0 if it is done, 1 if not, 2 for wrong usage.
`

const ackUsage = `usage: vigil ack OUTAGE|SELECTOR [-for 8h] "who, why"

Acknowledges an outage: its reminders end. Alerts about further dead replicas or
nodes are still sent. A selector acknowledges every open outage that it matches.

  -for time           for how long, like 8h; default: until the outage ends
  -end                remove the acknowledgement; takes no "who, why"
` + clientHelp + `
A selector is a service, a node as service:node, or * for all. The ids of
outages are in the answer of 'vigil status -json'.

examples:

  vigil ack web:shop "Ann, on it"
  vigil ack '*' -for 8h "Ann, provider is down"

Exit status: 0 if it is done, 1 if not, 2 for wrong usage.
`

// longestSpan is how long a maintenance, a silence or an acknowledgement may be.
const longestSpan = 365 * 24 * time.Hour

// A spanJSON is a maintenance or a silence as the Manager API lists it.
type spanJSON struct {
	ID        string    `json:"id"`
	Title     string    `json:"title,omitempty"`
	Text      string    `json:"text"`
	Selectors []string  `json:"selectors"`
	Start     time.Time `json:"start"`
	End       time.Time `json:"end"`
}

// runMaintenance is "vigil maintenance".
func runMaintenance(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil maintenance", flag.ContinueOnError)
	length := durationFlag(fs, "for", 0, time.Second, longestSpan)
	at := filledFlag(fs, "at", "a time")
	text := fs.String("text", "", "")
	list := fs.Bool("list", false, "")
	end := filledFlag(fs, "end", "an id")
	c := newClientCommand(fs, maintenanceUsage, stdout, stderr)
	var start time.Time
	check := func() (err error) {
		if *list || *end != "" {
			return c.listOrEnd(*list, *end)
		}
		if err := c.spanArgs(*length, "a title"); err != nil || *at == "" {
			return err
		}
		if start, err = parseTime(*at, time.Now(), false); err != nil {
			return fmt.Errorf("-at %q: %w", *at, err)
		}
		return nil
	}
	return c.run(ctx, args, check, func(ctx context.Context) (int, error) {
		if *list || *end != "" {
			return exitOK, c.spans(ctx, "maintenance", *end)
		}
		if start.IsZero() {
			start = time.Now()
		}
		selectors, title := c.args[:len(c.args)-1], c.args[len(c.args)-1]
		body := map[string]any{"title": title, "text": *text, "selectors": selectors,
			"start": start.Truncate(time.Second), "end": start.Truncate(time.Second).Add(*length)}
		return exitOK, c.begin(ctx, "maintenances/", body)
	})
}

// runSilence is "vigil silence".
func runSilence(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil silence", flag.ContinueOnError)
	length := durationFlag(fs, "for", 0, time.Second, longestSpan)
	list := fs.Bool("list", false, "")
	end := filledFlag(fs, "end", "an id")
	c := newClientCommand(fs, silenceUsage, stdout, stderr)
	check := func() error {
		if *list || *end != "" {
			return c.listOrEnd(*list, *end)
		}
		return c.spanArgs(*length, "why")
	}
	return c.run(ctx, args, check, func(ctx context.Context) (int, error) {
		if *list || *end != "" {
			return exitOK, c.spans(ctx, "silence", *end)
		}
		selectors, why := c.args[:len(c.args)-1], c.args[len(c.args)-1]
		return exitOK, c.begin(ctx, "silences/", map[string]any{"selectors": selectors, "text": why, "seconds": int64(*length / time.Second)})
	})
}

// listOrEnd is the check of -list and -end, which go alone.
func (c *clientCommand) listOrEnd(list bool, end string) error {
	if list && end != "" {
		return errors.New("-list and -end exclude each other")
	}
	return c.noArgs()
}

// spanArgs checks the arguments of a span: selectors, and then a text.
func (c *clientCommand) spanArgs(length time.Duration, what string) error {
	switch n := len(c.args); {
	case n < 2:
		return fmt.Errorf("want a selector and %s, got %s: is it in quotes?", what, plural(n, "argument"))
	case length == 0:
		return errors.New("-for is missing: how long, like 2h")
	}
	return nil
}

// begin begins or plans a span and prints its id.
func (c *clientCommand) begin(ctx context.Context, path string, body map[string]any) error {
	var made struct {
		ID string `json:"id"`
	}
	err := c.client.call(ctx, http.MethodPost, path, body, &made)
	return c.done(err, "Done, its id is "+made.ID+".", made.ID)
}

// spans ends a maintenance or silence or, without an id, lists all.
func (c *clientCommand) spans(ctx context.Context, kind, end string) error {
	if end != "" {
		return c.done(c.client.call(ctx, http.MethodDelete, kind+"/"+url.PathEscape(end)+"/", nil, nil), "Ended.", end)
	}
	all := []spanJSON{}
	if err := c.client.call(ctx, http.MethodGet, kind+"s/", nil, &all); err != nil {
		return err
	}
	if c.flags.json {
		return c.out.json(all)
	}
	if len(all) == 0 {
		fmt.Fprintf(c.stdout, "No %ss.\n", kind)
		return nil
	}
	now := time.Now()
	rows := [][]cell{plain("ID", "BEGIN", "END", "NODES", "TEXT")}
	for _, s := range all {
		text := s.Text
		if s.Title != "" {
			text = strings.TrimSuffix(s.Title+": "+s.Text, ": ")
		}
		rows = append(rows, plain(s.ID, localTime(s.Start, now), localTime(s.End, now), strings.Join(s.Selectors, " "), text))
	}
	c.out.columns(rows)
	return nil
}

// runAck is "vigil ack".
func runAck(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil ack", flag.ContinueOnError)
	length := durationFlag(fs, "for", longestSpan, time.Second, longestSpan)
	end := fs.Bool("end", false, "")
	c := newClientCommand(fs, ackUsage, stdout, stderr)
	check := func() error {
		switch n := len(c.args); {
		case *end && n != 1:
			return fmt.Errorf("want one outage or selector, got %s", plural(n, "argument"))
		case !*end && n != 2:
			return fmt.Errorf(`want an outage or selector and "who, why", got %s: is it in quotes?`, plural(n, "argument"))
		}
		return nil
	}
	return c.run(ctx, args, check, func(ctx context.Context) (int, error) {
		ids, err := c.openOutages(ctx, c.args[0])
		if err != nil {
			return exitError, err
		}
		word, method, body := "Taken back for", http.MethodDelete, any(nil)
		if !*end {
			who, why, both := strings.Cut(c.args[1], ", ")
			if !both {
				who, why = os.Getenv("USER"), c.args[1]
			}
			word, method, body = "Acknowledged", http.MethodPut, map[string]any{"by": who, "text": why, "seconds": int64(*length / time.Second)}
		}
		done := []string{}
		for _, id := range ids {
			err := c.client.call(ctx, method, "outage/"+url.PathEscape(id)+"/ack/", body, nil)
			if fault, ok := errors.AsType[*apiFault](err); ok && fault.code == http.StatusConflict && len(ids) > 1 {
				continue // one of many has just ended
			}
			if err != nil {
				return exitError, err
			}
			done = append(done, id)
		}
		if c.flags.json {
			return exitOK, c.out.json(map[string][]string{"outages": done})
		}
		fmt.Fprintf(stdout, "%s %s.\n", word, plural(len(done), "outage"))
		return exitOK, nil
	})
}

// uuid is the form of an outage's id, which no selector has.
var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// openOutages returns the ids of the open outages that a selector matches, or
// the id that it is.
func (c *clientCommand) openOutages(ctx context.Context, which string) (ids []string, err error) {
	if uuid.MatchString(which) {
		return []string{which}, nil
	}
	var all []struct {
		ID  string     `json:"id"`
		End *time.Time `json:"end"`
	}
	if err := c.client.call(ctx, http.MethodGet, "outages/"+selectorQuery([]string{which}), nil, &all); err != nil {
		return nil, err
	}
	for _, o := range all {
		if o.End == nil {
			ids = append(ids, o.ID)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("no open outage matches %q", which)
	}
	return ids, nil
}
