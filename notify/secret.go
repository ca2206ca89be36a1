package notify

import (
	"fmt"
	"log/slog"
)

// A Secret is a token, password or URL that carries one. However it is printed
// or logged, it shows as "[redacted]"; string(s) is the value.
type Secret string

const redacted = "[redacted]"

func (s Secret) String() string { return redacted }

// Format keeps every verb of package fmt, %q and %#v included, from printing
// the value.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the value out of JSON and its like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
