package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// modeOf makes commands executable.
func modeOf(name string) fs.FileMode {
	if filepath.Base(name) == "LICENSE" {
		return 0o644
	}
	return 0o755
}

// writeTar writes files with nothing of this machine: no owner and no time of its own.
func writeTar(path string, at time.Time, files []string) error {
	return create(path, func(w io.Writer) error {
		packed := gzip.NewWriter(w)
		archive := tar.NewWriter(packed)
		for _, name := range files {
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			header := &tar.Header{Name: filepath.Base(name), Mode: int64(modeOf(name)), Size: int64(len(content)), ModTime: at, Format: tar.FormatUSTAR}
			if err := archive.WriteHeader(header); err != nil {
				return err
			}
			if _, err := archive.Write(content); err != nil {
				return err
			}
		}
		return errors.Join(archive.Close(), packed.Close())
	})
}

// writeZip is writeTar for Windows.
func writeZip(path string, at time.Time, files []string) error {
	return create(path, func(w io.Writer) error {
		archive := zip.NewWriter(w)
		for _, name := range files {
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			header := &zip.FileHeader{Name: filepath.Base(name), Method: zip.Deflate, Modified: at}
			header.SetMode(modeOf(name))
			entry, err := archive.CreateHeader(header)
			if err != nil {
				return err
			}
			if _, err := entry.Write(content); err != nil {
				return err
			}
		}
		return archive.Close()
	})
}

func create(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

// writeChecksums writes SHA256SUMS of all files in a directory, as sha256sum does.
func writeChecksums(dir string) error {
	files, err := os.ReadDir(dir) // sorted
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(content), file.Name())
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(lines.String()), 0o644)
}
