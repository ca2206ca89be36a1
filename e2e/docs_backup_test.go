package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A copy of the storage folder, made as docs/running.md has it while Vigil writes,
// holds all that was published before, and Vigil starts on it.
func TestDocumentedBackup(t *testing.T) {
	t.Parallel()
	backup := strings.TrimPrefix(fenceWith(t, "docs/running.md", "vigil-backup").text, "sudo ")
	const from, to = "/var/lib/vigil/data", "/root/vigil-backup-$(date +%F)"
	if !strings.Contains(backup, from) || !strings.Contains(backup, to) {
		t.Fatalf("a backup is %q", backup)
	}
	const config = `
[server]
inet = "127.0.0.1:0"
log_level = "info"
manager_token = "secret"
reporter_token = "secret"
[branding]
page_url = "https://status.example.com/"
[[probe.service]]
id = "web"
label = "Web"
[[probe.service.node]]
id = "jobs"
label = "Jobs"
mode = "push"
`
	r := startVigil(t, config)
	post := func(route, body string) bool {
		req, err := http.NewRequest("POST", r.url+route, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return false
		}
		req.SetBasicAuth("", "secret")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	// Something comes to be written all the time: replicas that appear.
	var traffic sync.WaitGroup
	ended := make(chan struct{})
	traffic.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			default:
				post("reporter/web/jobs/", fmt.Sprintf(`{"replica":"host-%d","interval":300,"load":{"cpu":%d,"ram":0}}`, i%1000, i%3))
			}
		}
	})
	for round := range 5 {
		title := fmt.Sprintf("Before copy %d", round)
		if !post("manager/announcement/", `{"title":"`+title+`","text":"A text."}`) {
			t.Fatal("not published")
		}
		copied := filepath.Join(t.TempDir(), "data")
		command := strings.NewReplacer(from, filepath.Join(r.cmd.Dir, "data"), to, copied).Replace(backup)
		for deadline := time.Now().Add(10 * time.Second); ; {
			out, err := exec.Command("sh", "-c", command).CombinedOutput()
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		again := startIn(t, filepath.Dir(copied), config, `serving the status page.*url=(\S+)`)
		if page := again.get(""); !strings.Contains(page, title) || !strings.Contains(page, "Before copy 0") {
			t.Errorf("copy %d lacks what was published before it", round)
		}
		again.stop(syscall.SIGTERM)
	}
	close(ended)
	traffic.Wait()
}
