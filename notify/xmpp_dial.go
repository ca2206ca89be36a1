package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// xmppPort is where clients are served when DNS says nothing else (RFC
	// 6120, section 3.2.2).
	xmppPort = 5222

	// srvTimeout leaves most of a dialogue's time when DNS does not answer.
	srvTimeout = 3 * time.Second

	// maxEndpoints bounds how many servers of a domain are tried.
	maxEndpoints = 8
)

// A lookupSRVFunc asks DNS for SRV records, as net.Resolver.LookupSRV does.
type lookupSRVFunc func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)

// An endpoint is one place where a domain's clients may be served.
type endpoint struct {
	host             string
	port             uint16
	direct           bool // TLS at once, without STARTTLS
	priority, weight uint16
}

func (e endpoint) addr() string {
	return net.JoinHostPort(e.host, strconv.Itoa(int(e.port)))
}

// endpoints asks DNS where the domain serves its clients, with STARTTLS and
// with TLS at once, and returns both kinds in one order (XEP-0368). A domain
// without records is its own server.
func endpoints(ctx context.Context, lookup lookupSRVFunc, domain string) ([]endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, srvTimeout)
	defer cancel()
	var records [2][]*net.SRV
	var wg sync.WaitGroup
	for i, service := range []string{"xmpp-client", "xmpps-client"} {
		wg.Go(func() {
			// Some records may be good beside an error. With none at all the
			// domain itself is tried, whatever the reason.
			_, records[i], _ = lookup(ctx, service, "tcp", domain)
		})
	}
	wg.Wait()

	var list []endpoint
	for i, direct := range []bool{false, true} {
		for _, r := range records[i] {
			// The target "." is how a domain denies the service (RFC 2782).
			if host := strings.TrimSuffix(r.Target, "."); host != "" {
				list = append(list, endpoint{host, r.Port, direct, r.Priority, r.Weight})
			}
		}
	}
	switch {
	case len(list) > 0:
		list = shuffle(list, rand.IntN)
		return list[:min(len(list), maxEndpoints)], nil
	case len(records[0]) > 0:
		return nil, &PermanentError{fmt.Errorf("%s: the domain has no XMPP service, according to DNS", domain)}
	}
	return []endpoint{{host: strings.Trim(domain, "[]"), port: xmppPort}}, nil
}

// shuffle orders endpoints by priority and, where these are equal, at random
// in proportion to their weights (RFC 2782). A weight of 0 counts as a very
// small one.
func shuffle(list []endpoint, intN func(int) int) []endpoint {
	slices.SortStableFunc(list, func(a, b endpoint) int { return cmp.Compare(a.priority, b.priority) })
	share := func(e endpoint) int { return 1 + 100*int(e.weight) }
	for i := range list {
		total := 0
		for _, e := range list[i:] {
			if e.priority != list[i].priority {
				break
			}
			total += share(e)
		}
		pick := i
		for at := intN(total) - share(list[i]); at >= 0; at -= share(list[pick]) {
			pick++
		}
		chosen := list[pick]
		list = slices.Insert(slices.Delete(list, pick, pick+1), i, chosen)
	}
	return list
}

// tryEach runs attempt on one endpoint after the other until one works out. An
// endpoint that does not answer uses up its share of the time only, so that the
// next ones have theirs.
func tryEach(ctx context.Context, list []endpoint, attempt func(context.Context, endpoint) error) error {
	var errs []error
	for i, e := range list {
		share := dialogueTimeout
		if deadline, ok := ctx.Deadline(); ok {
			share = time.Until(deadline) / time.Duration(len(list)-i)
		}
		actx, cancel := context.WithTimeout(ctx, share)
		err := attempt(actx, e)
		cancel()
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s: %w", e.addr(), err)
		if _, moved := errors.AsType[*redirectError](err); moved {
			return err
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return joined(errs)
}

// joined makes one error of several, in one line. It is permanent only when
// they all are.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	permanent := true
	var texts []string
	for _, err := range errs {
		_, ok := errors.AsType[*PermanentError](err)
		permanent = permanent && ok
		texts = append(texts, err.Error())
	}
	err := errors.New(strings.Join(texts, "; "))
	if permanent {
		return &PermanentError{err}
	}
	return err
}
