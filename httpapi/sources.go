package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// Sources knows the attached tables.
type Sources interface {
	// Sources lists them by name. It returns CodeUnavailable while the database is
	// away.
	Sources(ctx context.Context) ([]Source, error)
}

// Source is an attached table and how it is.
type Source struct {
	Name       string          `json:"name"`
	Table      string          `json:"table"`
	OK         bool            `json:"ok"`                // it is seen
	Problem    string          `json:"problem,omitempty"` // what is wrong, or what an admin should know
	Remedy     string          `json:"remedy,omitempty"`  // a command, or what else to do
	Reading    bool            `json:"reading"`           // rows that were there before are still being read
	Errors     int64           `json:"errors"`
	Unmapped   int64           `json:"unmapped"`
	Unowned    int64           `json:"unowned"`
	Unknown    []string        `json:"unmapped_values"` // of the status
	LastError  string          `json:"last_error,omitempty"`
	ErrorAt    *time.Time      `json:"last_error_at,omitempty"`
	AttachedAt time.Time       `json:"attached_at"`
	Writes     int64           `json:"writes"` // rows written to the table since its statistics were reset
	Mapping    json.RawMessage `json:"mapping"`
}

// handleSources lists the attached tables.
func (s *Server) handleSources(c echo.Context, _ auth.Principal) error {
	if err := request.NoParams(c); err != nil {
		return err
	}
	all, err := s.deps.Sources.Sources(c.Request().Context())
	if err != nil {
		return err
	}
	if all == nil {
		all = []Source{}
	}
	return request.WriteJSON(c, http.StatusOK, request.List[Source]{Items: all})
}
