package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vigil/notify"
)

// What is to be delivered is known by target, whatever the dispatcher does
// with it, and only what may be under way is marked when it is queued again.
func TestStoreRemembersDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newMemFolder()
		r := runStore(t, dir)
		synctest.Wait() // it has asked for the whole state, which knows of nothing here
		alert := func(id string, targets ...string) {
			a := notify.Alert{ID: id, Status: notify.Dead, Dead: []notify.Replica{{Path: "web:a:x"}}, Time: time.Now().UTC()}
			r.put(batch{records: []record{{Alert: &alertRecord{Alert: a, Targets: targets}}}})
			for _, target := range targets {
				r.Queued(target, a)
			}
		}
		alert("1", "slack", "mail")
		alert("2", "slack", "mail")
		r.Done("slack", "1")
		alert("3", "slack", "mail")
		r.Done("mail", "1")
		r.Done("mail", "2")
		merged := notify.Alert{ID: "3", Merged: 1}
		r.Queued("slack", merged)
		r.Done("slack", "2")
		alert("4", "slack")
		r.Done("mail", "3")
		want := "slack: 3 merged 1 repeat, 4 merged 0"
		if got := backlogLines(r.undelivered()); got != want {
			t.Errorf("running: %s\nwant: %s", got, want)
		}
		r.stop()
		im, err := readFolder(dir.killed(), quiet)
		if err != nil {
			t.Fatal(err)
		}
		if got := backlogLines(im.backlog.again()); got != want {
			t.Errorf("restarted: %s\nwant: %s", got, want)
		}
		if got := im.told; !slices.Equal(got.Dead, []string{"web:a:x"}) || !got.Page {
			t.Errorf("people know %+v", got)
		}
	})
}

// How long an alert was tried goes on from where it was, whether the program
// did not run for hours or the clock was set back meanwhile.
func TestStoreRemembersFirstTries(t *testing.T) {
	for _, ahead := range []time.Duration{0, -3 * time.Hour, 2 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			dir := newMemFolder()
			r := runStore(t, dir)
			clock := func() time.Time { return time.Now().Add(ahead).UTC() } // of the first run, as seen from the next
			r.Queued("mail", notify.Alert{ID: "1"})
			r.Queued("mail", notify.Alert{ID: "1", Tried: clock()})
			r.Queued("mail", notify.Alert{ID: "2"})
			time.Sleep(10 * time.Minute)
			alive := clock()
			r.put(batch{records: []record{{Alive: &alive}}})
			r.stop()

			r = runStore(t, dir)
			left := r.undelivered()["mail"]
			if len(left) != 2 || !left[1].Tried.IsZero() {
				t.Fatalf("clock ahead by %v: undelivered %+v, want two of which one was tried", ahead, left)
			}
			if got := time.Since(left[0].Tried); got != 10*time.Minute {
				t.Errorf("clock ahead by %v: tried for %v, want 10 min", ahead, got)
			}
			r.stop()
		})
	}
}

func backlogLines(all map[string][]notify.Alert) string {
	var lines []string
	for target, alerts := range all {
		var list []string
		for _, a := range alerts {
			s := fmt.Sprintf("%s merged %d", a.ID, a.Merged)
			if a.Repeat {
				s += " repeat"
			}
			list = append(list, s)
		}
		lines = append(lines, target+": "+strings.Join(list, ", "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// A power cut may leave the beginning of a second copy of what was written ahead of
// its turn. That takes nothing back.
func TestCopyCutOff(t *testing.T) {
	alert := func(id string, reminders int) record {
		return record{Alert: &alertRecord{Alert: notify.Alert{ID: id, Channel: "slack"}, Targets: []string{"slack", "pager"}, Sent: reminders}}
	}
	heard := func(alert string, over bool) record {
		return record{Heard: &heardRecord{Channel: "slack", Service: "web", Node: "a", Status: "dead", Alert: alert, Over: over}}
	}
	tried := notify.Alert{ID: "down", Channel: "slack", Tried: time.Unix(1, 0)}
	all := []record{
		heard("down", false), alert("down", 1), {Queued: &queuedRecord{"slack", tried}}, {Done: &doneRecord{"slack", "down"}},
		heard("up", true), alert("up", 0), {Queued: &queuedRecord{"pager", tried}},
	}
	for n := range all {
		im := newRestored()
		for _, rec := range slices.Concat(all, all[:n]) {
			im.apply(rec)
		}
		if c := im.channels["slack"]; len(c.heard) > 0 || c.Reminders != 0 {
			t.Errorf("with %d records again: the channel knows of %v, %d reminders", n, c.heard, c.Reminders)
		}
		if got, want := backlogLines(im.backlog), "pager: down merged 0, up merged 0\nslack: up merged 0"; got != want {
			t.Errorf("with %d records again: to be delivered\n%s\nwant\n%s", n, got, want)
		}
	}
}

// Records that are urgent are written while a step takes long. If that fails,
// the journal stays whole, and they come with the next job.
func TestUrgentRecords(t *testing.T) {
	for _, fault := range []string{"", "write", "truncate"} {
		synctest.Test(t, func(t *testing.T) {
			dir := newMemFolder()
			d, _ := openDisk(t, dir)
			d.urgent = make(chan []record, 1)
			save := func(names ...string) error {
				var j job
				for _, name := range names {
					j.records = append(j.records, note(name))
				}
				return d.do(j).err
			}
			has := func(what string, dir *memFolder, want ...string) {
				t.Helper()
				if d, im := openDisk(t, dir); !slices.Equal(ids(im), want) || len(d.aside) > 0 && fault != "truncate" {
					t.Errorf("%q fails, %s: %v, aside %v; want %v", fault, what, ids(im), d.aside, want)
				}
			}
			if err := save("first"); err != nil {
				t.Fatal(err)
			}
			resume := dir.hang("sync")
			saved := make(chan error, 1)
			go func() { saved <- save("second") }()
			synctest.Wait()
			dir.fail(func(_ int, op string) error {
				if fault != "" && (op == "write" || op == fault) {
					return errFake
				}
				return nil
			})
			d.urgent <- []record{note("third")}
			synctest.Wait()
			written := []string{"first", "second"}
			if fault == "" {
				written = append(written, "third")
			}
			has("killed", dir.killed(), written...)
			dir.fail(nil)
			resume()
			if err := <-saved; err != nil != (fault == "truncate") {
				t.Errorf("%q fails: %v", fault, err)
			}
			if err := save("second", "third", "fourth"); err != nil {
				t.Fatal(err)
			}
			has("killed at last", dir.killed(), "first", "second", "third", "fourth")
			has("cut at last", dir.cut(0), "first", "second", "third", "fourth")
		})
	}
}
