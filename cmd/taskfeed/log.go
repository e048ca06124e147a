package main

import (
	"io"
	"log/slog"

	"github.com/taskfeed/taskfeed/internal/logs"
	"github.com/taskfeed/taskfeed/internal/terminal"
)

// newLogger returns a logger that writes text to a terminal and JSON to anything else,
// unless the format says otherwise. It keeps tokens and floods out of the log.
func newLogger(w io.Writer, cfg logConfig) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.level)) // validated when it was read
	options := &slog.HandlerOptions{Level: level}
	if cfg.format == "text" || cfg.format != "json" && terminal.Is(w) {
		return slog.New(logs.Guard(slog.NewTextHandler(w, options)))
	}
	return slog.New(logs.Guard(slog.NewJSONHandler(w, options)))
}
