// Reports to the server at the first argument with the published library for
// apps, as node os.Args[2] of the service "relay eu", until it is killed.
package main

import (
	"os"
	"time"

	reporter "github.com/valeriansaliou/go-vigil-reporter/vigil_reporter"
)

func main() {
	r := reporter.New(os.Args[1], "tok/en+secret").ProbeID("relay eu").NodeID(os.Args[2]).
		ReplicaID("host/one").Interval(time.Second).Build()
	r.Run()
	select {}
}
