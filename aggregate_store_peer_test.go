//go:build peer

package main

import "testing"

func TestManyKills(t *testing.T) { killRounds(t, 200) }
