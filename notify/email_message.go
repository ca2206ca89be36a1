package notify

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// maxReferences bounds the outages that a message belongs to for threading.
const maxReferences = 20

// message renders the whole message, header and body, with CRLF line ends: a
// plain part, and an HTML part that says the same. now is when it is sent.
func (n *emailNotifier) message(a Alert, env envelope, now time.Time) ([]byte, error) {
	from := env.from
	if title := clip(oneLine(n.page.Title), maxTitle); title != "" {
		// The address goes in by hand: String would quote its brackets.
		name, _, _ := strings.Cut((&mail.Address{Name: title, Address: "x@x"}).String(), " <x@x>")
		from = name + " " + env.from
	}
	t := newText(a, now)
	boundary := "vigil-" + deliveryID(a, env.to)
	headers := [][2]string{
		{"From", from},
		{"To", env.to},
		{"Subject", mime.QEncoding.Encode("utf-8", t.subject)},
		{"Date", a.Time.Format(time.RFC1123Z)},
		{"Message-ID", n.messageID(a, env)},
		{"References", n.references(a, env)},
		{"List-Id", listID(n.page, env)},
		// RFC 3834, section 5: keeps out-of-office robots from answering.
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", `multipart/alternative; boundary="` + boundary + `"`},
	}
	var b bytes.Buffer
	for _, h := range headers {
		if h[1] == "" {
			continue
		}
		if err := writeHeader(&b, h[0], h[1]); err != nil {
			return nil, err
		}
	}
	plain := plainStyle(0, utf8.RuneCountInString)
	plain.columns = true
	var page bytes.Buffer
	if err := emailPage.Execute(&page, newEmailView(t)); err != nil {
		return nil, err
	}
	for _, part := range [][2]string{{"text/plain", plain.message(t)}, {"text/html", page.String()}} {
		b.WriteString("\r\n--" + boundary + "\r\nContent-Type: " + part[0] + "; charset=utf-8\r\n" +
			"Content-Transfer-Encoding: quoted-printable\r\n\r\n")
		w := quotedprintable.NewWriter(&b)
		// Writes to a buffer do not fail.
		io.WriteString(w, part[1]+"\n")
		w.Close()
	}
	b.WriteString("\r\n--" + boundary + "--\r\n")
	return b.Bytes(), nil
}

// An emailView is what the HTML part shows.
type emailView struct {
	Subject, Colour, When, Link string
	Lines                       []emailLine
	Notes                       []string
	More                        string
}

type emailLine struct {
	Mark, Colour, Name, What, When, Link string
	Replicas                             []string
}

func newEmailView(t text) emailView {
	v := emailView{Subject: t.subject, Colour: t.mood.colour(), When: t.when, Link: t.link, Notes: t.notes}
	for _, l := range t.lines {
		v.Lines = append(v.Lines, emailLine{l.mark, l.status.colour(), l.heading(), l.what, l.when, l.link, l.replicas})
	}
	if more := t.down + t.back; more > 0 {
		v.More = fmt.Sprintf("and %d more", more)
	}
	return v
}

// emailPage has no images and no background of its own, so that it is readable
// in dark mode, too.
var emailPage = template.Must(template.New("email").Parse(`<!DOCTYPE html>
<html><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{{.Subject}}</title></head>
<body style="font-family: sans-serif; font-size: 15px; line-height: 1.4">
<p style="border-left: 5px solid {{.Colour}}; padding-left: 10px"><strong>{{.Subject}}</strong></p>
{{if .Lines}}<table style="border-collapse: collapse">
{{range .Lines}}<tr style="vertical-align: top">
<td style="padding: 3px 12px 3px 0; color: {{.Colour}}"><strong>{{.Mark}}</strong></td>
<td style="padding: 3px 12px 3px 0">{{if .Link}}<a href="{{.Link}}">{{.Name}}</a>{{else}}{{.Name}}{{end}}</td>
<td style="padding: 3px 12px 3px 0">{{.What}}{{range .Replicas}}<br>{{.}}{{end}}</td>
<td style="padding: 3px 0">{{.When}}</td>
</tr>
{{end}}</table>
{{end}}{{if .More}}<p>{{.More}}</p>
{{end}}{{range .Notes}}<p>{{.}}</p>
{{end}}<p>{{.When}}{{if .Link}}, <a href="{{.Link}}">{{.Link}}</a>{{end}}</p>
</body></html>`))

// references names the threads that the message belongs to, one for each
// outage, so that mail programs show an outage's messages together (RFC 5322,
// section 3.6.4).
func (n *emailNotifier) references(a Alert, env envelope) string {
	var ids []string
	for _, o := range a.Outages {
		if len(ids) < maxReferences {
			ids = append(ids, "<outage-"+deliveryID(Alert{ID: o.ID}, "")+"@"+n.idDomain(env)+">")
		}
	}
	return strings.Join(ids, " ")
}

// listID lets mailboxes filter the messages of one status page (RFC 2919).
func listID(page Page, env envelope) string {
	host := env.from[strings.LastIndex(env.from, "@")+1 : len(env.from)-1]
	if u, err := url.Parse(page.URL); err == nil && u.Hostname() != "" {
		host = u.Hostname()
	}
	if strings.ContainsFunc(host, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-')
	}) {
		return "<alerts.vigil.invalid>"
	}
	return "<alerts." + host + ">"
}

// messageID is the Message-ID (RFC 5322, section 3.6.4).
func (n *emailNotifier) messageID(a Alert, env envelope) string {
	return "<" + deliveryID(a, env.to) + "@" + n.idDomain(env) + ">"
}

// idDomain is the sender's domain, for ids that are unique in the world.
func (n *emailNotifier) idDomain(env envelope) string {
	domain := env.from[strings.LastIndex(env.from, "@")+1 : len(env.from)-1]
	if !isASCII(domain) {
		return ehloName(n.hostname, nil)
	}
	return domain
}

// writeHeader writes one header field, folded at spaces to lines of 78
// characters where that can be done (RFC 5322, section 2.1.1).
func writeHeader(b *bytes.Buffer, name, value string) error {
	if strings.ContainsAny(value, "\r\n\x00") {
		return fmt.Errorf("header %s: a line end or NUL in %q", name, value)
	}
	b.WriteString(name + ":")
	col := len(name) + 1
	for i, word := range strings.Split(value, " ") {
		if i > 0 && word != "" && col+1+len(word) > 78 {
			b.WriteString("\r\n")
			col = 0
		}
		b.WriteString(" " + word)
		col += 1 + len(word)
	}
	b.WriteString("\r\n")
	return nil
}
