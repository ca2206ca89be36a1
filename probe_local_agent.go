package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// An agent takes the results of checks and tells them to a master, as reports
// on replicas of local nodes.
type agent struct {
	client *http.Client
	log    *slog.Logger
	box    *outbox
	back   chan delivered
}

// A delivered is a parcel with what became of it.
type delivered struct {
	parcel *parcel
	err    *sendError // nil: the master took it
}

// newAgent returns an agent that is to work by conf.
func newAgent(conf *LocalConfig, client *http.Client, log *slog.Logger) *agent {
	a := &agent{client: client, log: log, box: newOutbox(log, rand.Float64), back: make(chan delivered, maxSends)}
	a.adopt(conf)
	return a
}

func (a *agent) adopt(conf *LocalConfig) {
	a.box.adopt(conf, &master{client: a.client, base: conf.Endpoint, token: conf.Token}, time.Now())
}

// run sends reports until ctx ends, which is no error, and by each config that
// comes from reloads. It is the only goroutine that touches the outbox. It
// returns when no report is under way any more.
func (a *agent) run(ctx context.Context, results <-chan event, reloads <-chan *LocalConfig) error {
	var sends sync.WaitGroup
	defer sends.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		for p := a.box.next(now); p != nil; p = a.box.next(now) {
			sends.Go(func() { a.deliver(ctx, p) })
		}
		var due <-chan time.Time
		if at, ok := a.box.wake(); ok {
			timer.Reset(at.Sub(now))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-due:
		case ev := <-results:
			if res, ok := ev.(result); ok {
				a.box.book(res, time.Now())
			}
		case d := <-a.back:
			a.box.settle(d.parcel, d.err, time.Now())
		case conf := <-reloads:
			a.adopt(conf)
		}
	}
}

// deliver sends one parcel. What the end of ctx cuts short is dropped.
func (a *agent) deliver(ctx context.Context, p *parcel) {
	it := p.item
	var err error
	if p.flush {
		err = p.to.flush(ctx, it.service, it.node, it.replica)
	} else {
		err = p.to.report(ctx, it.service, it.node, reportMessage{
			Replica:  it.replica,
			Interval: int64(p.every / time.Second),
			Health:   p.status.String(),
		})
	}
	a.log.Debug("sent", append(it.attrs(), "health", p.status.String(), "flush", p.flush, "err", err)...)
	fault, _ := errors.AsType[*sendError](err)
	select {
	case a.back <- delivered{p, fault}:
	case <-ctx.Done():
	}
}
