package feeds

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/internal/wsframe"
)

// Refusals of a handshake, each before the upgrade.
var (
	errNotWebSocket = &taskfeed.Error{Code: taskfeed.CodeUpgradeRequired,
		Message: "this URL speaks WebSocket only: connect with a WebSocket client, and let proxies in between pass Upgrade and Connection on"}
	errOldHTTP = &taskfeed.Error{Code: taskfeed.CodeBadRequest,
		Message: "a WebSocket handshake needs HTTP/1.1; a proxy in between may have to be told so"}
	errVersion = &taskfeed.Error{Code: taskfeed.CodeBadRequest,
		Message: "only version 13 of the WebSocket protocol is spoken (Sec-WebSocket-Version)"}
	errKey = &taskfeed.Error{Code: taskfeed.CodeBadRequest,
		Message: "Sec-WebSocket-Key must be 16 bytes in base64, once"}
	errTooFast = &taskfeed.Error{Code: taskfeed.CodeRateLimited,
		Message: "too many handshakes from this address; wait before the next one"}
	errManyAtOnce = &taskfeed.Error{Code: taskfeed.CodeUnavailable,
		Message: "too many clients connect at once; wait as long as Retry-After says before you try again"}
	errManyRefused = &taskfeed.Error{Code: taskfeed.CodeBadToken,
		Message: "the token was refused; get a new one for this user before you connect again"}
)

// handshake is what a request asks for, apart from the request.
type handshake struct {
	id       uint64 // of the connection to be
	userID   string
	remote   string
	after    *taskfeed.Cursor // nil: live only
	filter   taskfeed.Filter  // of the feed; its users are set once the token is verified
	feeds    []string         // the only feeds that it asks for
	v1       bool             // the client named our subprotocol
	client   string           // its name; empty for none
	unread   bool             // feed_live is to have the number of unread events
	progress time.Duration    // least time between two frames of progress of one task
	token    string
}

// ServeSocket checks a handshake, upgrades the connection and returns; the socket keeps
// nothing of the request. It refuses before the upgrade with a problem document, except
// a bad token: that is refused after the upgrade with a close frame, which the page in
// a browser can read.
func (f *Feeds) ServeSocket(c echo.Context) error {
	err := f.connect(c)
	if err == nil || errors.Is(err, errAborted) {
		return nil
	}
	f.metrics.refused(c.Request().Context(), err)
	return err
}

// errAborted means that the connection broke during the upgrade, so no answer can be
// sent.
var errAborted = errors.New("the connection broke during the handshake")

func (f *Feeds) connect(c echo.Context) error {
	if err := f.admit(c.Request()); err != nil {
		return err
	}
	hs, err := f.readHandshake(c)
	if err != nil {
		return err
	}
	if err := f.Available(); err != nil {
		return err
	}
	var ok bool
	if hs.id, ok = f.registry.enter(); !ok {
		return request.ErrDraining
	}
	opened := false
	defer func() { // also after a panic
		if !opened {
			f.registry.leave()
		}
	}()
	err = f.open(c, hs)
	opened = err == nil
	return err
}

// admit keeps clients that come too fast from costing anything else.
func (f *Feeds) admit(r *http.Request) error {
	now := f.now()
	if f.handshakes.Take(now, request.AddressKey(request.ClientAddr(r, f.cfg.TrustedProxies))) > 0 {
		return errTooFast
	}
	if f.admission.Take(now) > 0 {
		f.metrics.deferred.Inc()
		return errManyAtOnce
	}
	return nil
}

// Available returns why no feed can be served at present, or nil.
func (f *Feeds) Available() error {
	if f.deps.Unavailable == nil {
		return nil
	}
	err := f.deps.Unavailable()
	if _, ok := errors.AsType[*taskfeed.Error](err); ok || err == nil {
		return err
	}
	return &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the server cannot serve feeds now; try again in a moment", Err: err}
}

// readHandshake checks the request, its token excepted.
func (f *Feeds) readHandshake(c echo.Context) (handshake, error) {
	r := c.Request()
	if err := checkUpgrade(c.Response().Header(), r); err != nil {
		return handshake{}, err
	}
	if !f.deps.Origins.Allow(r) {
		return handshake{}, request.ErrOrigin
	}
	after, err := position(r)
	if err != nil {
		return handshake{}, err
	}
	hs, err := f.readFeed(c)
	if err != nil {
		return handshake{}, err
	}
	hs.after, hs.remote = after, request.ClientAddr(r, f.cfg.TrustedProxies).String()
	hs.token, hs.v1, err = readToken(r)
	return hs, err
}

// checkUpgrade checks that the request is a handshake of RFC 6455 section 4.2.1. It
// sets in header what the refusal must carry.
func checkUpgrade(header http.Header, r *http.Request) error {
	switch {
	case !r.ProtoAtLeast(1, 1):
		return errOldHTTP
	case !websocket.IsWebSocketUpgrade(r):
		header.Set("Upgrade", "websocket")
		header.Set("Connection", "Upgrade")
		return errNotWebSocket
	case !slices.Contains(r.Header.Values("Sec-WebSocket-Version"), "13"):
		header.Set("Sec-WebSocket-Version", "13")
		return errVersion
	}
	keys := r.Header.Values("Sec-WebSocket-Key")
	if len(keys) != 1 {
		return errKey
	}
	if nonce, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(nonce) != 16 {
		return errKey
	}
	return nil
}

// readFeed returns what feed a socket asks for.
func (f *Feeds) readFeed(c echo.Context) (hs handshake, err error) {
	p, err := request.ReadParams(c.Request())
	if err != nil {
		return hs, err
	}
	if hs.userID, err = request.IDOf(c, p, "user_id"); err != nil {
		return hs, err
	}
	knowPosition(p)
	p.Know("token")
	hs.feeds = p.IDs("feed")
	narrow(p, &hs.filter)
	hs.unread = f.wantsUnread(p, hs.filter.TaskID)
	hs.progress = progressInterval(p)
	hs.client = f.clientName(p)
	return hs, p.IgnoreUnread()
}

// readToken returns the one token that the request carries, empty when there is
// none, and whether the client names our subprotocol. A token may be in the
// query, in Authorization, or, for browsers, among the subprotocols.
func readToken(r *http.Request) (token string, v1 bool, err error) {
	tokens := append(request.BearerTokens(r), request.Query(r)["token"]...)
	for _, value := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(value, ",") {
			name = strings.TrimSpace(name)
			if bearer, ok := strings.CutPrefix(name, taskfeed.BearerPrefix); ok {
				tokens = append(tokens, bearer)
			}
			v1 = v1 || name == taskfeed.Subprotocol
		}
	}
	token, err = request.ExactlyOne(tokens)
	return token, v1, err
}

// open finds out who connects and opens the socket, or a socket that is closed at once with
// the reason of the refusal.
func (f *Feeds) open(c echo.Context, hs handshake) error {
	principal, err := f.deps.Guard.Identify(c.Request(), hs.token)
	switch {
	case taskfeed.CodeOf(err) == taskfeed.CodeBadToken:
		code, reason := closeFor(err)
		return f.openRefused(c, hs, err, code, reason)
	case err != nil:
		return err
	case principal.UserID != hs.userID:
		return f.openRefused(c, hs, errForeign, taskfeed.CloseForbidden, reasonForbidden)
	}
	var ok bool
	if hs.filter.UserID, hs.filter.Feeds, ok = principal.Choose(hs.feeds); !ok {
		return f.openRefused(c, hs, request.ErrFeed, taskfeed.CloseForbidden, reasonFeed)
	}
	return f.openFeed(c, hs, principal)
}

var errForeign = &taskfeed.Error{Code: taskfeed.CodeForbidden, Message: reasonForbidden}

// maxRefused is how many sockets may be open only to be closed with a reason. Beyond it
// a bad token is refused with a plain HTTP answer, which needs no socket.
const maxRefused = 1024

// openRefused upgrades and closes at once with a code that the page can read.
func (f *Feeds) openRefused(c echo.Context, hs handshake, refusal error, code int, reason string) error {
	if f.refused.Add(1) > maxRefused {
		f.refused.Add(-1)
		return errManyRefused
	}
	sock := f.newSocket(hs, auth.Principal{})
	sock.release = func() { f.refused.Add(-1) }
	if err := f.start(c, hs, sock); err != nil {
		return err
	}
	f.metrics.refused(c.Request().Context(), refusal)
	request.SetRefusal(c, taskfeed.CodeOf(refusal))
	sock.end(code, reason)
	return nil
}

// openFeed subscribes before it upgrades, so the client gets every event that commits
// after it has seen the answer.
func (f *Feeds) openFeed(c echo.Context, hs handshake, principal auth.Principal) error {
	release, err := f.deps.Hub.Reserve(principal.UserID)
	if err != nil {
		return err
	}
	sock := f.newSocket(hs, principal)
	sock.release = func() {
		if sock.sub != nil {
			sock.sub.Close()
		}
		if sock.arrival != nil {
			sock.leaveClient()
		}
		release()
	}
	if err := f.enterHub(c.Request().Context(), sock, hs, principal); err != nil {
		sock.release()
		return err
	}
	if err := f.start(c, hs, sock); err != nil {
		return err
	}
	request.SetConnectionID(c, f.registry.name(hs.id))
	sock.wake()
	return nil
}

// enterHub gives the socket its place in the hub. Its release gives back what it has got.
func (f *Feeds) enterHub(ctx context.Context, sock *socket, hs handshake, principal auth.Principal) (err error) {
	wantLive := hs.after != nil || hs.v1 || hs.unread
	if hs.client != "" {
		if sock.arrival, err = f.takeClient(ctx, &hs, principal); err != nil {
			return err
		}
	}
	sock.sub, err = f.subscribe(hub.SubscribeOptions{
		Filter:   hs.filter,
		Owner:    principal.UserID,
		After:    hs.after,
		WantLive: wantLive,
		Wake:     sock.wake,
	}, hs.progress)
	return err
}

// start upgrades the connection for the socket and starts its reader. It releases the
// socket when it returns an error.
func (f *Feeds) start(c echo.Context, hs handshake, sock *socket) error {
	conn, err := f.upgrade(c, hs)
	if err != nil {
		sock.release()
		return err
	}
	sock.attach(conn)
	joined := sock.sub == nil || f.registry.add(hs.id, sock) // before it reads: it may end at once
	go sock.read()
	if !joined {
		sock.end(wsframe.CloseRestart, reasonRestart)
	}
	return nil
}

// upgrade answers 101 and takes over the connection. It returns errAborted when no other
// answer can be sent any more.
func (f *Feeds) upgrade(c echo.Context, hs handshake) (net.Conn, error) {
	header := http.Header{request.HeaderID: {request.ID(c)}}
	if hs.v1 {
		header.Set("Sec-WebSocket-Protocol", taskfeed.Subprotocol)
	}
	ws, err := f.upgrader.Upgrade(c.Response(), c.Request(), header)
	if _, ok := errors.AsType[websocket.HandshakeError](err); ok {
		return nil, &taskfeed.Error{Code: taskfeed.CodeBadRequest, Message: request.ErrBadRequest.Message, Err: err}
	}
	c.Response().Committed = true
	c.Response().Status = http.StatusSwitchingProtocols
	if err != nil {
		return nil, errAborted
	}
	return ws.NetConn(), nil
}

// newUpgrader returns an upgrader whose buffers do not outlive the handshake.
func newUpgrader(cfg Config, buffers websocket.BufferPool) websocket.Upgrader {
	return websocket.Upgrader{
		HandshakeTimeout: cfg.WriteTimeout,
		ReadBufferSize:   1, // the least: we read for ourselves
		WriteBufferPool:  buffers,
		CheckOrigin:      func(*http.Request) bool { return true },                // it has been checked
		Error:            func(http.ResponseWriter, *http.Request, int, error) {}, // handleError answers
	}
}
