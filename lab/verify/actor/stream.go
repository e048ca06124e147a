package actor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// impatient is a connection whose reads time out when the server is silent.
type impatient struct{ net.Conn }

func (i impatient) Read(p []byte) (int, error) {
	if err := i.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return 0, err
	}
	return i.Conn.Read(p)
}

// get sends a request over a new connection, which done closes.
func (c *client) get(ctx context.Context, server Server, path string, header http.Header) (res *http.Response, done func(), err error) {
	token, err := c.token()
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server.Addr+path, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header = header
	req.Header.Set("Authorization", "Bearer "+token)
	transport := &http.Transport{DisableCompression: true, ResponseHeaderTimeout: handshakeTimeout,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := c.dialTCP(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return impatient{conn}, nil
		}}
	if res, err = transport.RoundTrip(req); err != nil {
		transport.CloseIdleConnections()
		return nil, nil, err
	}
	return res, func() { _ = res.Body.Close(); transport.CloseIdleConnections() }, nil
}

// stream opens one stream of server-sent events and reads it to its end. It reports
// whether the server accepted it.
func (c *client) stream(ctx context.Context, server Server, after *int64) bool {
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	header := http.Header{"Accept": {"text/event-stream"}}
	if after != nil {
		header.Set("Last-Event-ID", strconv.FormatInt(*after, 10))
	}
	query := url.Values{}
	if c.cfg.All {
		query.Set("all", "true")
	}
	c.ask(query)
	res, done, err := c.get(ctx, server, "/v1/events/stream?"+query.Encode(), header)
	if err != nil {
		c.note(refusal(ctx, nil, err))
		return false
	}
	defer done()
	if res.StatusCode != http.StatusOK {
		c.note(refusal(ctx, res, nil))
		return false
	}
	c.note(history.Client{Kind: history.Open})
	c.present(hangUp)
	defer c.present(nil)
	if stay := c.stay(); stay > 0 {
		timer := time.AfterFunc(stay, hangUp)
		defer timer.Stop()
	}
	c.note(c.readStream(ctx, bufio.NewReader(res.Body)))
	return true
}

// refusal returns the record of a request that failed or was refused.
func refusal(ctx context.Context, res *http.Response, err error) history.Client {
	switch {
	case ctx.Err() != nil:
		return history.Client{Kind: history.Quit}
	case err != nil:
		return history.Client{Kind: history.Refused, Text: err.Error()}
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	return history.Client{Kind: history.Refused, Status: res.StatusCode, Text: string(body)}
}

// readStream takes the events and returns the record of how the stream ended.
func (c *client) readStream(ctx context.Context, in *bufio.Reader) history.Client {
	for {
		if !c.breathe(ctx) {
			return history.Client{Kind: history.Quit}
		}
		e, err := readEvent(in)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("the stream ended unannounced: %w", err)
			}
			return ending(ctx, err)
		}
		switch {
		case e.name == "feed_closed":
			var closed struct {
				Code   int    `json:"code"`
				Reason string `json:"reason"`
			}
			if json.Unmarshal([]byte(e.data), &closed) == nil {
				return history.Client{Kind: history.Close, Code: closed.Code, Text: closed.Reason}
			}
			c.take(history.Client{Text: e.data})
		case e.data != "":
			c.take(history.Client{Text: e.data, After: e.id})
		case e.id != nil:
			c.last, c.known = max(c.last, *e.id), true
			c.note(history.Client{Kind: history.Mark, After: e.id})
		}
	}
}

// streamEvent is one block of a stream.
type streamEvent struct {
	name, data string
	id         *int64
}

// readEvent reads a block up to its empty line. It ignores comments.
func readEvent(in *bufio.Reader) (e streamEvent, err error) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return e, err
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "":
			if line == "" {
				return e, nil
			}
		case "event":
			e.name = value
		case "data":
			e.data += value
		case "id":
			id, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return e, fmt.Errorf("the id %q: %w", value, err)
			}
			e.id = &id
		}
	}
}
