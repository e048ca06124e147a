package main

import (
	"io"
	"log/slog"

	"github.com/taskfeed/taskfeed/internal/logs"
	"github.com/taskfeed/taskfeed/internal/terminal"
)

// newLogger returns a logger that writes text on a terminal and JSON elsewhere,
// unless the format says otherwise. No token gets through it, and no flood.
func newLogger(w io.Writer, cfg logConfig) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.level)) // checked when it was read
	options := &slog.HandlerOptions{Level: level}
	if cfg.format == "text" || cfg.format != "json" && terminal.Is(w) {
		return slog.New(logs.Guard(slog.NewTextHandler(w, options)))
	}
	return slog.New(logs.Guard(slog.NewJSONHandler(w, options)))
}
