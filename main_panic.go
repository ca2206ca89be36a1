package main

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
)

// logPanic logs a panic that was contained, with its stack: a fault in one
// check, request or event must not end the monitoring of everything else. It
// is called by the deferred function that recovered v.
func logPanic(log *slog.Logger, message string, v any, args ...any) {
	log.Error(message, append(args, "panic", panicText(v), "stack", string(debug.Stack()))...)
}

// panicText quotes what the runtime says, and of other values the type only,
// for these may hold anything, a secret too.
func panicText(v any) string {
	if fault, ok := v.(runtime.Error); ok {
		return fault.Error()
	}
	return fmt.Sprintf("%T", v)
}
