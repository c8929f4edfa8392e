package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// unpack writes the files of a tar below a folder.
func unpack(from io.Reader, folder string) error {
	files := tar.NewReader(from)
	for {
		entry, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry.Typeflag != tar.TypeReg || !filepath.IsLocal(entry.Name) {
			return userErrorf("The sources have a file that can't be used: %q", entry.Name)
		}
		path := filepath.Join(folder, entry.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		if _, err := io.Copy(file, files); err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
}

// pack writes the artifact: the same bytes for the same program.
func pack(to io.Writer, program string, plan *plan) error {
	packed, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return err
	}
	folder := tar.NewWriter(packed)
	file, err := os.Open(program)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := folder.WriteHeader(&tar.Header{Name: "main", Mode: 0o755, Size: info.Size(), Format: tar.FormatGNU}); err != nil {
		return err
	}
	if _, err := io.Copy(folder, file); err != nil {
		return err
	}
	told, err := json.Marshal(map[string]any{"form": plan.form, "module": plan.module, "abi": abi})
	if err != nil {
		return err
	}
	header := &tar.Header{Name: "nimbus.json", Mode: 0o644, Size: int64(len(told)), Format: tar.FormatGNU}
	if err := folder.WriteHeader(header); err != nil {
		return err
	}
	if _, err := folder.Write(told); err != nil {
		return err
	}
	return errors.Join(folder.Close(), packed.Close())
}
