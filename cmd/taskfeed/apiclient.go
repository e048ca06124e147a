package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/terminal"
	"github.com/taskfeed/taskfeed/store/history"
)

// apiTimeout bounds one request of a command to the API. It can take the server 30 s to
// say why it cannot answer.
const apiTimeout = 40 * time.Second

// cliUser is the user of a token that a command signs itself.
const cliUser = "taskfeed-cli"

// apiSettings says which server to ask, and as whom.
type apiSettings struct {
	url, token string
	signing    config // signs a token when there is none
	own        *settings
	environ    *settings
}

func newAPISettings(in *cli.Invocation) *apiSettings {
	s := &apiSettings{}
	s.own = newSettings([]*setting{
		{"TASKFEED_URL", "base URL of the server", "http://127.0.0.1:" + cmp.Or(in.Env("PORT"), "8080"), text(&s.url)},
		{"TASKFEED_TOKEN", "token for the API; without one, the command signs an admin's token with TASKFEED_JWT_SECRET", "", text(&s.token)},
	})
	s.environ = newSettings(s.signing.tokenSettings()) // from the environment only
	return s
}

// client reads the settings and returns a client. With mine the token must be a user's.
func (s *apiSettings) client(env func(string) string, mine bool) (*apiClient, error) {
	if err := errors.Join(s.own.read(env), s.environ.read(env)); err != nil {
		return nil, err
	}
	base, err := url.Parse(s.url)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil {
		return nil, errors.New("TASKFEED_URL: must be the server's base URL, such as https://feed.example.com")
	}
	switch {
	case s.token != "":
	case mine:
		return nil, errors.New("TASKFEED_TOKEN: it is missing; --mine needs the token of the user")
	case s.signing.secret == "":
		return nil, errors.New("TASKFEED_TOKEN: it is missing; set it to a token with the role admin, or TASKFEED_JWT_SECRET to the server's secret")
	default:
		s.signing.auth.Secret = []byte(s.signing.secret)
		if s.token, err = issueToken(s.signing.auth, cliUser, auth.RoleAdmin, time.Hour); err != nil {
			return nil, err
		}
	}
	prefix := "v1"
	if mine {
		prefix = "v1/me"
	}
	return &apiClient{base: base.JoinPath(prefix), token: s.token, http: &http.Client{Timeout: apiTimeout}}, nil
}

// apiClient asks a server's API.
type apiClient struct {
	base  *url.URL
	token string
	http  *http.Client
}

// apiError is an error that the server answered.
type apiError struct {
	status int
	code   taskfeed.Code
	detail string
}

func (e *apiError) Error() string {
	advice := ""
	switch e.code {
	case taskfeed.CodeForbidden:
		advice = "; with a user's own token, use --mine"
	case taskfeed.CodeBadToken:
		advice = "; check TASKFEED_TOKEN, or TASKFEED_JWT_SECRET"
	}
	return fmt.Sprintf("the server answers %d: %s%s", e.status, terminal.Printable(e.detail), advice)
}

// get requests a path, given as its segments, and decodes the JSON of the answer.
func (c *apiClient) get(ctx context.Context, query url.Values, into any, path ...string) error {
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	u := c.base.JoinPath(path...)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL
		}
		return fmt.Errorf("ask %s: %w", c.base.Host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusalOf(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.base.Host, err)
	}
	return nil
}

// refusalOf returns the error of an answer. It usually is a problem document, but a proxy
// may have answered.
func refusalOf(resp *http.Response) error {
	var problem map[string]any
	const most = 64 << 10
	_ = json.NewDecoder(io.LimitReader(resp.Body, most)).Decode(&problem) // without a problem document the status has to do
	return &apiError{resp.StatusCode, taskfeed.Code(said(problem["code"])),
		cmp.Or(said(problem["detail"]), said(problem["title"]), "this is not a taskfeed server; check TASKFEED_URL")}
}

// said returns a member of a problem document that is a text, or "" if it is missing, of
// another type, empty or HTML.
func said(member any) string {
	s, _ := member.(string)
	if s = strings.TrimSpace(s); strings.HasPrefix(s, "<") {
		return ""
	}
	return s
}

// maxPage is the greatest size of a page.
const maxPage = history.MaxPageLimit

// pages reads a list page by page and calls each with the items of a page. It reads at
// most limit items, or all when limit is negative.
func (c *apiClient) pages(ctx context.Context, query url.Values, limit int, each func([]json.RawMessage) error, path ...string) error {
	for {
		size := maxPage
		if limit >= 0 {
			size = min(limit, maxPage)
		}
		query.Set("limit", strconv.Itoa(size))
		var page struct {
			Items []json.RawMessage
			Next  string
		}
		if err := c.get(ctx, query, &page, path...); err != nil {
			return err
		}
		if page.Items == nil {
			return fmt.Errorf("read the answer of %s: it is not a list; check TASKFEED_URL", c.base.Host)
		}
		if err := each(page.Items); err != nil {
			return err
		}
		if limit >= 0 {
			limit -= len(page.Items)
		}
		if page.Next == "" || limit == 0 {
			return nil
		}
		query.Set("after", page.Next)
	}
}
