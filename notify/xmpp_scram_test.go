package notify

import (
	"strings"
	"testing"
)

// TestSCRAM is the exchange of RFC 5802, section 5, and of RFC 7677, section 3.
func TestSCRAM(t *testing.T) {
	for i, tt := range []struct{ nonce, challenge, final, proof string }{
		{nonce256, challenge256, final256, proof256},
		{nonce1, challenge1, final1, proof1},
	} {
		c := &scram{mechanism: scramMechanisms[i], user: "user", password: "pencil", nonce: tt.nonce}
		if got, want := c.first(), "n,,n=user,r="+tt.nonce; got != want {
			t.Errorf("%s: first %q, want %q", c.mechanism.name, got, want)
		}
		if got, err := c.final(tt.challenge); err != nil || got != tt.final {
			t.Errorf("%s: final %q, %v; want %q", c.mechanism.name, got, err, tt.final)
		}
		if err := c.verify(tt.proof); err != nil {
			t.Errorf("%s: %v", c.mechanism.name, err)
		}
		for _, wrong := range []string{"", "v=", "e=invalid-proof", tt.proof[:len(tt.proof)-4], "v=" + base64Of("not the signature"), "v=***"} {
			if c.verify(wrong) == nil {
				t.Errorf("%s: %q was taken for a proof", c.mechanism.name, wrong)
			}
		}
	}
}

func TestSCRAMNoProofBeforeTheChallenge(t *testing.T) {
	c := &scram{mechanism: scramMechanisms[0]}
	if c.verify("v=") == nil {
		t.Error("an empty proof counts before there is anything to prove")
	}
}

func TestSCRAMUserAndBinding(t *testing.T) {
	c := &scram{mechanism: scramMechanisms[0], user: "a=b,c", password: "x", nonce: "n", binding: "tls-exporter", bindingData: []byte("data")}
	if got, want := c.first(), "p=tls-exporter,,n=a=3Db=2Cc,r=n"; got != want {
		t.Errorf("first %q, want %q", got, want)
	}
	final, err := c.final("r=nm,s=c2FsdA==,i=1")
	if want := "c=" + base64Of("p=tls-exporter,,data") + ",r=nm,p="; err != nil || !strings.HasPrefix(final, want) {
		t.Errorf("final %q, %v; want %q...", final, err, want)
	}
}

func TestSCRAMBadChallenges(t *testing.T) {
	for challenge, want := range map[string]string{
		"":                                           "the server sent a SCRAM challenge that we do not understand",
		"m=ext,r=noncex,s=c2FsdA==":                  "the server sent a SCRAM challenge that we do not understand",
		"r=noncex,s=c2FsdA==":                        "the server sent a SCRAM challenge that we do not understand",
		"s=c2FsdA==,r=noncex,i=1":                    "the server sent a SCRAM challenge that we do not understand",
		"r=nonce,s=c2FsdA==,i=4096":                  "the server's SCRAM nonce does not continue ours",
		"r=other,s=c2FsdA==,i=4096":                  "the server's SCRAM nonce does not continue ours",
		"r=noncex,s=,i=4096":                         "the server sent no usable SCRAM salt",
		"r=noncex,s=?,i=4096":                        "the server sent no usable SCRAM salt",
		"r=noncex,s=c2FsdA==,i=0":                    `the server asks for "0" SCRAM iterations, want 1 to 1000000`,
		"r=noncex,s=c2FsdA==,i=-1":                   `the server asks for "-1" SCRAM iterations, want 1 to 1000000`,
		"r=noncex,s=c2FsdA==,i=1e3":                  `the server asks for "1e3" SCRAM iterations, want 1 to 1000000`,
		"r=noncex,s=c2FsdA==,i=1000001":              `the server asks for "1000001" SCRAM iterations, want 1 to 1000000`,
		"r=noncex,s=c2FsdA==,i=99999999999999999999": `the server asks for "99999999999999999999" SCRAM iterations, want 1 to 1000000`,
	} {
		c := &scram{mechanism: scramMechanisms[0], user: "user", password: "pencil", nonce: "nonce"}
		if _, err := c.final(challenge); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", challenge, err, want)
		}
	}
}

func FuzzSCRAM(f *testing.F) {
	f.Add(challenge256, proof256)
	f.Add("r="+nonce256+",s=c2FsdA==,i=1", "e=other-error")
	f.Add("r=,s=,i=", "v=")
	f.Fuzz(func(t *testing.T, challenge, proof string) {
		c := &scram{mechanism: scramMechanisms[0], user: "user", password: "pencil", nonce: nonce256}
		if _, _, iterations, err := c.parseChallenge(challenge); err == nil && iterations > 5000 {
			return // takes the fuzzer too long
		}
		final, err := c.final(challenge)
		if err == nil && (!strings.HasPrefix(final, "c=biws,r="+nonce256) || strings.Count(final, ",p=") < 1) {
			t.Errorf("%q is answered by %q", challenge, final)
		}
		if c.verify(proof) == nil && challenge != challenge256 {
			t.Errorf("%q is taken for a proof after %q", proof, challenge)
		}
	})
}
