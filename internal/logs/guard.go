// Package logs keeps tokens and floods out of logs.
//
// Guard wraps a program's log handler. It removes everything that has the form of a
// token from messages, attributes and groups. It also limits lines that strangers can
// cause or that repeat: of lines with level warn and above, and of those with a Bounded
// attribute, at most ten of a kind are written in ten seconds. The others are counted,
// and a line says afterwards how many were left out, so nothing is dropped silently.
//
// It recognises no other secrets than tokens; callers must not log those.
package logs

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
)

// guard is the handler that Guard makes.
type guard struct {
	next  slog.Handler
	flood *flood // shared with the handlers of WithAttrs and WithGroup
}

// Guard returns a handler that passes on to next what may be logged. A guarded handler
// is returned unchanged.
func Guard(next slog.Handler) slog.Handler {
	if g, ok := next.(*guard); ok {
		return g
	}
	return &guard{next, newFlood(next)}
}

// Flush logs how many lines a guarded handler has left out so far.
func Flush(h slog.Handler) {
	if g, ok := h.(*guard); ok {
		g.flood.flush()
	}
}

// Enabled implements slog.Handler.
func (g *guard) Enabled(ctx context.Context, level slog.Level) bool {
	return g.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (g *guard) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &guard{g.next.WithAttrs(cleanAll(attrs)), g.flood}
}

// WithGroup implements slog.Handler.
func (g *guard) WithGroup(name string) slog.Handler {
	return &guard{g.next.WithGroup(Redact(name)), g.flood}
}

// Handle implements slog.Handler.
func (g *guard) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, Redact(r.Message), r.PC)
	kind, bounded := "", r.Level >= slog.LevelWarn
	r.Attrs(func(a slog.Attr) bool {
		if a.Value.Kind() == slog.KindAny {
			if k, ok := a.Value.Any().(kindOfLine); ok {
				kind, bounded = ": "+string(k), true
				return true
			}
		}
		clean.AddAttrs(cleanAttr(a))
		return true
	})
	if bounded && !g.flood.take(r.Level, kindOf(r.Message)+kind) {
		return nil
	}
	return g.next.Handle(ctx, clean)
}

type kindOfLine string

// Bounded marks a line that strangers can cause: lines with the same message and kind
// are limited, see the package. The attribute itself is not written.
func Bounded(kind string) slog.Attr {
	return slog.Any("bounded", kindOfLine(kind))
}

func cleanAll(attrs []slog.Attr) []slog.Attr {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = cleanAttr(a)
	}
	return clean
}

func cleanAttr(a slog.Attr) slog.Attr {
	return slog.Attr{Key: Redact(a.Key), Value: cleanValue(a.Value)}
}

// cleanValue returns a value unchanged unless its text has a token.
func cleanValue(v slog.Value) slog.Value {
	v = v.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.StringValue(Redact(v.String()))
	case slog.KindGroup:
		return slog.GroupValue(cleanAll(v.Group())...)
	case slog.KindAny:
		return cleanAny(v)
	}
	return v
}

// cleanAny checks a value both as text and as JSON, because handlers write one or the
// other.
func cleanAny(v slog.Value) slog.Value {
	value := v.Any()
	if err, ok := value.(error); ok {
		return slog.StringValue(Redact(err.Error()))
	}
	shown := []string{fmt.Sprintf("%+v", value), fmt.Sprintf("%s", value)}
	if b, err := json.Marshal(value); err == nil {
		shown = append(shown, string(b))
	}
	for _, text := range shown {
		if clean := Redact(text); clean != text {
			return slog.StringValue(clean)
		}
	}
	return v
}
