package server_test

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi"
	"github.com/taskfeed/taskfeed/server"
	"github.com/taskfeed/taskfeed/store"
)

// sessions stands for how an app knows who is signed in.
var sessions = map[string]string{}

// An app serves the feeds below /feeds, and its own session cookie says whose. A page of
// the app opens new EventSource("/feeds/v1/events/stream") and needs no token. The
// directory examples/embedded has the whole program.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	feeds, err := server.New(server.Config{
		Database: store.Config{URL: os.Getenv("DATABASE_URL")},
		Authenticate: func(r *http.Request) (server.Principal, error) {
			cookie, err := r.Cookie("session")
			if err != nil || sessions[cookie.Value] == "" {
				return server.Principal{}, &taskfeed.Error{Code: taskfeed.CodeBadToken, Message: "sign in first"}
			}
			return server.Principal{UserID: sessions[cookie.Value]}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux() // with the app's own pages
	mux.Handle("/feeds/", http.StripPrefix("/feeds", feeds.Handler()))
	app := &http.Server{Addr: ":8080", Handler: mux, ConnContext: feeds.ConnContext}
	go func() { log.Print(app.ListenAndServe()) }()
	if err := feeds.Run(ctx); err != nil { // until ctx is done and its connections are closed
		log.Fatal(err)
	}
	_ = app.Shutdown(context.Background())
}

// A server of its own, as the command taskfeed is, with tokens of a shared secret.
func ExampleServer_Run() {
	srv, err := server.New(server.Config{
		Database: store.Config{URL: os.Getenv("DATABASE_URL")},
		Tokens:   auth.Config{Secret: []byte(os.Getenv("JWT_SECRET"))},
		HTTP:     httpapi.Config{Addr: ":8080"},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := srv.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
