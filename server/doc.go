// Package server runs taskfeed inside a Go program. Command taskfeed is such a program;
// another one is an app that serves the feeds of its users below a path of its own, and
// knows its users by its own sessions instead of tokens:
//
//	feeds, err := server.New(server.Config{
//		Database:     store.Config{URL: os.Getenv("DATABASE_URL")},
//		Authenticate: principalOfSession,
//	})
//	…
//	mux.Handle("/feeds/", http.StripPrefix("/feeds", feeds.Handler()))
//	go func() { failed <- feeds.Run(ctx) }()
//
// Several servers, inside programs and on their own, can serve one database: one of them
// moves changes into the log, all of them serve.
//
// The package joins the others and has no protocol of its own. It sets no signal handler,
// reads no environment and writes only to Config.Log.
package server
