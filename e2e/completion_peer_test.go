//go:build peer

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The scripts that complete words, in the shells themselves.
func TestCompletionPeer(t *testing.T) {
	installPeer(t, "bash", "zsh", "fish")
	dir := t.TempDir()
	config := "[branding]\npage_url = \"http://127.0.0.1/\"\n[[probe.service]]\nid = \"web\"\nlabel = \"A\"\n" +
		"[[probe.service.node]]\nid = \"core\"\nlabel = \"C\"\nmode = \"push\"\n"
	for name, text := range map[string]string{"config.cfg": config, "other.cfg": strings.NewReplacer(`"web"`, `"db"`, `"core"`, `"disk"`).Replace(config)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, shell := range []struct{ name, script string }{
		// Each script sets the line to $LINE, presses the key and prints what fits.
		{"bash", `source <(vigil completion bash)
COMP_LINE=$LINE COMP_POINT=${#LINE} COMP_WORDBREAKS=$' \t\n"><=;|&(:'"'"
_vigil
printf '%s\n' "${COMPREPLY[@]}"`},
		{"zsh", `zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1= PROMPT_EOL_MARK=; autoload -Uz compinit; compinit -u -D; source <(vigil completion zsh); bindkey "^I" complete-word; zstyle ":completion:*" list-prompt ""; LISTMAX=0; zle -C show list-choices _main_complete; print READY'
while zpty -r shell text '*READY*'; do [[ $text == *$'\n'*READY* || $text == READY* ]] && break; done
zpty -n -w shell "$LINE"$'\t'
sleep 2
while zpty -r -t shell text; do print -rn -- "$text"; done
zpty -d shell`},
		{"fish", `vigil completion fish | source
complete -C "$LINE"`},
	} {
		t.Run(shell.name, func(t *testing.T) {
			for line, want := range map[string]string{
				"vigil chec":       "check",
				"vigil check -str": "-strict",
				"vigil check -c c": "config.cfg",

				"vigil status we":                  "web",
				"vigil log -since 1d web:co":       "web:core",
				"vigil announce T -service web:co": "web:core",
				"vigil status -c other.cfg db:":    "db:disk",
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				cmd := exec.CommandContext(ctx, shell.name, "-c", shell.script)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "LINE="+line, "HOME="+dir, "TERM=xterm", "PATH="+filepath.Dir(vigil)+":"+os.Getenv("PATH"))
				out, err := cmd.CombinedOutput()
				if shell.name == "bash" && strings.HasSuffix(line, " c") {
					// Files are left to bash itself, which is not at work here.
					if strings.TrimSpace(string(out)) != "" {
						t.Errorf("%q goes on with %q (%v), want nothing", line, out, err)
					}
					continue
				}
				if shell.name == "bash" && strings.Contains(line, ":") {
					// Bash has split the line at the colon: only the rest is missing.
					if want = want[strings.Index(want, ":")+1:]; strings.TrimSpace(string(out)) != want {
						t.Errorf("%q goes on with %q (%v), want %q alone", line, out, err, want)
					}
					continue
				}
				if !strings.Contains(string(out), want) {
					t.Errorf("%q goes on with %q (%v), want %q", line, out, err, want)
				}
			}
		})
	}
}
