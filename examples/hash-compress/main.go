// Hashes and compresses a text: the event on stdin, the result on stdout.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
)

type event struct {
	Text string `json:"text"`
}

type result struct {
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
	CRC32  string `json:"crc32"`
	Packed int    `json:"packed_bytes"`
	Gzip   string `json:"gzip"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var given event
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return err
	}
	data := []byte(given.Text)
	packed, err := compress(data)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(data)
	return json.NewEncoder(os.Stdout).Encode(result{
		Bytes:  len(data),
		SHA256: hex.EncodeToString(hash[:]),
		CRC32:  fmt.Sprintf("%08x", crc32.ChecksumIEEE(data)),
		Packed: len(packed),
		Gzip:   base64.StdEncoding.EncodeToString(packed),
	})
}

func compress(data []byte) ([]byte, error) {
	var buffer bytes.Buffer
	writer, err := gzip.NewWriterLevel(&buffer, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := writer.Write(data); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
