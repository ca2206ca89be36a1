package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const announceUsage = `usage: vigil announce [flags] "Title" [text]
       vigil announce -update ID [-state STATE] text
       vigil announce -list | -remove ID

Publishes an announcement on the status page and prints its id, adds an update
to one, lists them, or removes one. Without a text, the title is the text.

  -service selector   what it is about: a service, or a node as service:node;
                      may be given many times
  -state state        investigating, identified, monitoring or resolved; makes
                      it an incident. A resolved one moves to the history
  -until time         when it disappears: 22:00, 2026-11-26T22:00:00Z, or after
                      how long, like 2h30m
  -update id          add an update to this announcement
  -list               list the announcements
  -remove id          remove this announcement
` + clientHelp + `
examples:

  vigil announce "Slow uploads" "We look into it." -service web
  vigil announce -update ID -state resolved "Uploads are fast again."

Exit status: 0 if it is done, 1 if not, 2 for wrong usage.
`

// runAnnounce is "vigil announce".
func runAnnounce(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vigil announce", flag.ContinueOnError)
	var services []string
	fs.Func("service", "", func(s string) error { services = append(services, s); return nil })
	state := fs.String("state", "", "")
	until := fs.String("until", "", "")
	update := fs.String("update", "", "")
	remove := fs.String("remove", "", "")
	list := fs.Bool("list", false, "")
	c := newClientCommand(fs, announceUsage, stdout, stderr)
	var end time.Time
	check := func() (err error) {
		switch n := len(c.args); {
		case *list && *remove+*update != "", *remove != "" && *update != "":
			return errors.New("-list, -update and -remove exclude each other")
		case *list || *remove != "":
			return c.noArgs()
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
	rows := [][]cell{plain("ID", "PUBLISHED", "STATE", "ABOUT", "TITLE")}
	for _, a := range all {
		state := ""
		if a.State != nil {
			state = *a.State
		}
		rows = append(rows, plain(a.ID, localTime(a.Published, now), state, strings.Join(a.Selectors, " "), a.Title))
	}
	c.out.columns(rows)
	return nil
}
