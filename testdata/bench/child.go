package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// roleVariable makes this program play a part in a process of its own.
const roleVariable = "VIGIL_BENCH_ROLE"

// A child is this program in another role. It gets one line of JSON with its
// task, answers one when it is ready, then one to each order.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	ready addresses
}

// addresses are where a child listens.
type addresses struct {
	HTTP string // answers at once
	TCP  string // accepts and closes
	Hang string // accepts and never answers
}

// An order asks a child for something.
type order struct {
	Do      string
	Seconds float64
}

// start starts a child. It ends with its input, also when this process dies.
func start(role string, task any) (*child, error) {
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	c.cmd.Stderr = os.Stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if err := c.ask(task, &c.ready); err != nil {
		c.stop()
		return nil, fmt.Errorf("%s: %w", role, err)
	}
	return c, nil
}

// ask sends an order and reads the answer.
func (c *child) ask(order, answer any) error {
	if err := json.NewEncoder(c.in).Encode(order); err != nil {
		return err
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, answer)
}

func (c *child) stop() {
	if c != nil {
		c.in.Close()
		c.cmd.Wait()
	}
}

// hold stops a process where it is, or lets it go on.
func hold(p *os.Process, held bool) {
	if held {
		p.Signal(syscall.SIGSTOP)
	} else {
		p.Signal(syscall.SIGCONT)
	}
}

// A part is what a child does: it takes its task and returns where it listens
// and what it answers to orders.
type part func(task json.RawMessage) (addresses, func(order) (any, error), error)

var parts = map[string]part{
	"farm":   playFarm,
	"page":   playPage,
	"report": playReport,
	"loop":   playLoop,
}

// play plays a part until the input ends.
func play(role string) error {
	in := json.NewDecoder(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	var task json.RawMessage
	if err := in.Decode(&task); err != nil {
		return err
	}
	play := parts[role]
	if play == nil {
		return errors.New("no such part")
	}
	where, obey, err := play(task)
	if err != nil {
		return err
	}
	if err := out.Encode(where); err != nil {
		return err
	}
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			return nil // the parent has ended
		}
		answer, err := obey(o)
		if err != nil {
			return err
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}
