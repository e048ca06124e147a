package history

const (
	MaxListBytes = maxListBytes
	ExportLimit  = exportLimit
	PieceBytes   = pieceBytes
)

// SetScan makes pages of narrowed lists end after so many rows.
func (r *Reader) SetScan(rows int) { r.scan = rows }
