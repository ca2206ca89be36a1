package main

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"
)

// Whatever an answer's length, on a connection that joins its pieces the same
// bytes arrive as without.
func TestJoinedAnswers(t *testing.T) {
	for _, size := range []int{0, 1, 900, 2047, 2048, 3500, 3900, 4000, 4095, 4096, 4097, 5000, 8191, 8192, 8193, 70000} {
		want := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		// Only the plain variant, so that the length is what it says.
		d := &reply{plain: newVariant(want, "tag"), fields: []field{newField("Content-Type", "text/plain")}}
		addr := serveTest(t, http.HandlerFunc(d.serve))
		client := http.Client{Timeout: 10 * time.Second}
		for range 2 { // the second one on the same connection
			res, err := client.Get("http://" + addr)
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes: got %d, %v", size, len(got), err)
			}
		}
		client.CloseIdleConnections()
	}
}
