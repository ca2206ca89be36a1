package main

import (
	"fmt"
	"io"
	"log/slog"
)

// newLogger returns a logger that writes to w as format says, "text" or
// "json", and the variable that holds its level.
func newLogger(w io.Writer, format string) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	opts := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), level, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), level, nil
	}
	return nil, nil, fmt.Errorf("-log-format %q: want text or json", format)
}

// logLevel returns the level of that name, one that the config allows.
func logLevel(name string) slog.Level {
	switch name {
	case "debug":
		return slog.LevelDebug
	case "info":
		return slog.LevelInfo
	case "warn":
		return slog.LevelWarn
	}
	return slog.LevelError
}
