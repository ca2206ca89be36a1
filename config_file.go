package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// defaultConfig is the file that is read when none is named.
const defaultConfig = "config.cfg"

// sampleConfig is the config that the program runs on when it finds no file.
//
//go:embed config.cfg
var sampleConfig string

// fileLimit bounds each read of a path that the config names, and of the config
// itself. A pipe without a writer or a network file system can block for ever.
const fileLimit = 5 * time.Second

var errNoAnswer = fmt.Errorf("no answer within %d s", fileLimit/time.Second)

// within returns what f returns, or an error when f takes longer than fileLimit
// or ctx ends first. An f that is given up runs on alone.
func within[T any](ctx context.Context, f func() (T, error)) (T, error) {
	limited, cancel := context.WithTimeoutCause(ctx, fileLimit, errNoAnswer)
	defer cancel()
	return interruptible(limited, f)
}

// interruptible returns what f returns, or the cause of ctx's end.
func interruptible[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type answer struct {
		val T
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		val, err := f()
		answers <- answer{val, err}
	}()
	select {
	case a := <-answers:
		return a.val, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// statPath is os.Stat with a limit of time.
func statPath(path string) (fs.FileInfo, error) {
	return within(context.Background(), func() (fs.FileInfo, error) { return os.Stat(path) })
}

// readFile reads a file of at most limit bytes within a limit of time.
func readFile(path string, limit int64) ([]byte, error) {
	return within(context.Background(), func() ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.Size() > limit {
			return nil, tooLarge(limit)
		}
		return readUpTo(f, limit)
	})
}

// readUpTo reads everything from r, which must not be more than limit bytes.
func readUpTo(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = tooLarge(limit)
	}
	return text, err
}

func tooLarge(limit int64) error { return fmt.Errorf("is larger than %d MiB", limit>>20) }

// A configRead is the outcome of loading a config of either kind.
type configRead[C any] struct {
	conf     C
	warnings []problem
}

// loadConfig reads the config file at path. With an empty path that is
// config.cfg in the working directory or, where there is none, the sample,
// whose Config has no Path. The problems are warnings; the error holds
// everything that must be corrected first, a line each. The end of ctx
// interrupts a path that does not answer.
func loadConfig(ctx context.Context, path string, getenv func(string) (string, bool)) (*Config, []problem, error) {
	l, err := interruptible(ctx, func() (configRead[*Config], error) {
		name := path
		if name == "" {
			name = defaultConfig
		}
		text, err := readFile(name, maxConfig)
		switch {
		case path == "" && errors.Is(err, fs.ErrNotExist):
			text, name = []byte(sampleFor(runtime.GOOS)), ""
		case errors.Is(err, fs.ErrNotExist):
			return configRead[*Config]{}, fmt.Errorf("%s: cannot be read: no such file or directory; 'vigil init -o %s' writes one to start from", name, name)
		case err != nil:
			return configRead[*Config]{}, unreadable(name, err)
		}
		conf, warnings, err := parseConfig(strings.NewReader(string(text)), name, getenv)
		if text := unknownZone(getenv); text != "" {
			warnings = append([]problem{{file: cmp.Or(name, defaultConfig), line: 1, key: "TZ", text: text}}, warnings...)
		}
		return configRead[*Config]{conf, warnings}, err
	})
	return l.conf, l.warnings, err
}

// unknownZone says what is wrong with the time zone of the environment, of which
// Go makes UTC without a word; "" when nothing is.
func unknownZone(getenv func(string) (string, bool)) string {
	tz, _ := getenv("TZ")
	name := strings.TrimPrefix(tz, ":")
	if name == "" || strings.HasPrefix(name, "/") {
		return ""
	}
	if _, err := time.LoadLocation(name); err == nil {
		return ""
	}
	return fmt.Sprintf("the environment variable TZ is %q, which is no zone that this machine knows, so times are in UTC; allowed: a name like Europe/Paris", shorten(tz))
}

// unreadable words an error of reading a config file.
func unreadable(name string, err error) error {
	err = withoutPath(err)
	remedy := "allowed: a file that this user may read"
	switch {
	case errors.Is(err, fs.ErrPermission):
		remedy = fmt.Sprintf("Vigil runs as user %d, who must be allowed to read it and to enter its folder", os.Getuid())
	case errors.Is(err, fs.ErrNotExist):
		remedy = "name an existing file with -c"
	case errors.Is(err, syscall.EISDIR):
		remedy = "name the file in it with -c"
	case errors.Is(err, errNoAnswer):
		remedy = "is it a pipe without a writer, or on a file system that hangs?"
	}
	return fmt.Errorf("%s: cannot be read: %w; %s", name, err, remedy)
}

// withoutPath returns what is wrong with a path, without the path itself.
func withoutPath(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

// sampleFor returns the sample as it is of use on a system: where there is no
// shell, the node that needs one is left out.
func sampleFor(goos string) string {
	if hasShell(goos) {
		return sampleConfig
	}
	head, rest, _ := strings.Cut(sampleConfig, sampleScript)
	_, ending, _ := strings.Cut(rest, sampleEnding)
	return head + sampleEnding + ending
}

// The sample's node that runs a script, and the remark that comes after it and
// ends the sample.
const (
	sampleScript = "[[probe.service.node]]\n\nid = \"disk\"\n"
	sampleEnding = "# A node that waits for the reports"
)

// hasShell reports whether scripts can be run: they are for /bin/sh.
func hasShell(goos string) bool { return goos != "windows" }
