package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestLoadConfig(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	c, _, err := loadConfig(t.Context(), "", environ(nil))
	if err != nil || c.Path != "" || c.Services[0].ID != "vigil" {
		t.Errorf("without a file: %v, %v; want the sample", c, err)
	}
	_, _, err = loadConfig(t.Context(), "other.cfg", environ(nil))
	if want := "other.cfg: cannot be read: no such file or directory; 'vigil init -o other.cfg' writes one to start from"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, _, err = loadConfig(t.Context(), dir, environ(nil))
	if want := dir + ": cannot be read: is a directory; name the file in it with -c"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := os.WriteFile("config.cfg", []byte("[server]\nlog_level = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = loadConfig(t.Context(), "", environ(nil))
	want := "config.cfg:1: branding.page_url: is missing; allowed: an http:// or https:// URL, like https://status.example.com\n" +
		"config.cfg:2: server.log_level: is an integer; allowed: a string"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A path that does not answer is an error after a while.
func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, never := time.Now(), make(chan int)
		defer close(never)
		_, err := within(t.Context(), func() (int, error) { return <-never, nil })
		if took := time.Since(begin); err != errNoAnswer || took != fileLimit {
			t.Errorf("%v after %v", err, took)
		}
		err = unreadable("config.cfg", err)
		if want := "config.cfg: cannot be read: no answer within 5 s; is it a pipe without a writer, or on a file system that hangs?"; err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

// A signal does not wait for a path that does not answer.
func TestLoadConfigInterrupted(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := exec.Command("mkfifo", "config.cfg").Run(); err != nil {
		t.Skip("no mkfifo here")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := loadConfig(ctx, "", environ(nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if f, err := os.OpenFile("config.cfg", os.O_RDWR, 0); err == nil { // ends the read
		f.Close()
	}
}

// A time zone in the form of POSIX is not one that Go knows.
func TestUnknownZone(t *testing.T) {
	for tz, known := range map[string]bool{"": true, "UTC": true, ":UTC": true, "Europe/Paris": true, "CET-1CEST,M3.5.0,M10.5.0/3": false, "Mars/Base": false} {
		if text := unknownZone(environ(map[string]string{"TZ": tz})); (text == "") != known {
			t.Errorf("%s: %s", tz, text)
		}
	}
	t.Chdir(t.TempDir())
	_, warnings, err := loadConfig(t.Context(), "", environ(map[string]string{"TZ": "CET-1CEST"}))
	want := `config.cfg:1: TZ: the environment variable TZ is "CET-1CEST", which is not a time zone that this machine knows, so times are in UTC; allowed: a name like Europe/Paris`
	if err != nil || len(warnings) == 0 || warnings[0].Error() != want {
		t.Errorf("got %v, %v, want %s", warnings, err, want)
	}
}

func TestLoadConfigTooLarge(t *testing.T) {
	name := filepath.Join(t.TempDir(), "large.cfg")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 50<<20); err != nil {
		t.Fatal(err)
	}
	_, _, err := loadConfig(t.Context(), name, environ(nil))
	if want := name + ": cannot be read: is larger than 4 MiB; is it a config?"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
