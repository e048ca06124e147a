// Command embedded is an app with accounts, sessions and work in the background that
// serves the feeds of its users itself, below /feeds. It has no tokens: its own session
// cookie says who a request is from, at the feeds and in the console at /feeds/console/.
//
//	DATABASE_URL=postgres://… go run ./examples/embedded
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/server"
	"github.com/taskfeed/taskfeed/store"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "8080"))
	if err == nil {
		log.Print("http://", listener.Addr())
		err = run(ctx, os.Getenv("DATABASE_URL"), listener, time.Second)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// run serves the app until ctx is done. A step of a task takes so long.
func run(ctx context.Context, databaseURL string, listener net.Listener, step time.Duration) error {
	db, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	a := &app{db: db, sessions: make(map[string]string), step: step, ctx: ctx}
	defer a.work.Wait()
	feeds, err := server.New(server.Config{
		Database:     store.Config{URL: databaseURL},
		Authenticate: a.principal,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", http.HandlerFunc(a.page))
	mux.Handle("POST /login", http.HandlerFunc(a.login))
	mux.Handle("POST /tasks", http.HandlerFunc(a.start))
	mux.Handle("/feeds/", http.StripPrefix("/feeds", feeds.Handler()))
	site := &http.Server{Handler: mux, ConnContext: feeds.ConnContext, ReadHeaderTimeout: 5 * time.Second}

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	served := make(chan error, 1)
	go func() {
		served <- site.Serve(listener)
		stop(errors.New("the site has ended"))
	}()
	failed := feeds.Run(ctx) // returns when all its connections are closed
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	failed = errors.Join(failed, site.Shutdown(closing))
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		failed = errors.Join(failed, err)
	}
	return failed
}

type app struct {
	db   *pgxpool.Pool
	step time.Duration
	ctx  context.Context // of work in the background
	work sync.WaitGroup

	mu       sync.Mutex
	sessions map[string]string // user of each session
}

// login stands for the app's own accounts: it believes everybody.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	user := strings.TrimSpace(r.FormValue("user"))
	if !taskfeed.ValidID(user) {
		http.Error(w, "who are you?", http.StatusBadRequest)
		return
	}
	session := rand.Text()
	a.mu.Lock()
	a.sessions[session] = user
	a.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "session", Value: session, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// user returns who sends the request, empty when nobody is signed in.
func (a *app) user(r *http.Request) string {
	cookie, err := r.Cookie("session")
	if err != nil {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sessions[cookie.Value]
}

// principal tells taskfeed who sends a request.
func (a *app) principal(r *http.Request) (server.Principal, error) {
	user := a.user(r)
	if user == "" {
		return server.Principal{}, &taskfeed.Error{Code: taskfeed.CodeBadToken, Message: "sign in first"}
	}
	return server.Principal{UserID: user}, nil
}

// start starts a task. The app writes rows; all else follows from that.
func (a *app) start(w http.ResponseWriter, r *http.Request) {
	user := a.user(r)
	if user == "" {
		http.Error(w, "sign in first", http.StatusUnauthorized)
		return
	}
	id := "report-" + rand.Text()
	_, err := a.db.Exec(r.Context(), `INSERT INTO taskfeed.tasks (id, user_id, kind) VALUES ($1, $2, 'report')`, id, user)
	if err != nil {
		log.Print("start a task: ", err)
		http.Error(w, "try again", http.StatusInternalServerError)
		return
	}
	a.work.Go(func() { a.perform(id) })
	w.WriteHeader(http.StatusAccepted)
}

// perform works and says how far it is.
func (a *app) perform(id string) {
	tick := time.NewTicker(a.step)
	defer tick.Stop()
	for progress := 25; progress <= 100; progress += 25 {
		select {
		case <-a.ctx.Done():
			return
		case <-tick.C:
		}
		status := "running"
		if progress == 100 {
			status = "completed"
		}
		_, err := a.db.Exec(a.ctx, `UPDATE taskfeed.tasks SET status = $2, progress = $3 WHERE id = $1`, id, status, progress)
		if err != nil {
			log.Print("task ", id, ": ", err)
			return
		}
	}
}

//go:embed page.html
var page []byte

func (a *app) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page) // a visitor who has gone does not matter
}
