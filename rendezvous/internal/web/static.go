package web

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"path"
	"strings"
)

//go:embed static/*
var staticFiles embed.FS

// asset is a file that the pages load.
type asset struct {
	address string // URL path; it contains a digest of the contents, so browsers may cache the file
	kind    string // media type
	body    []byte
}

// assets holds the files by name.
var assets = readAssets()

func readAssets() map[string]asset {
	all := map[string]asset{}
	for name, kind := range map[string]string{
		"admin.css": "text/css; charset=utf-8",
		"admin.js":  "text/javascript; charset=utf-8",
		"icon.svg":  "image/svg+xml",
	} {
		body, err := staticFiles.ReadFile("static/" + name)
		if err != nil {
			panic(err) // every name is embedded
		}
		sum := sha256.Sum256(body)
		stem, ext := strings.TrimSuffix(name, path.Ext(name)), path.Ext(name)
		digest := base64.RawURLEncoding.EncodeToString(sum[:6])
		all[name] = asset{Path + "/static/" + stem + "." + digest + ext, kind, body}
	}
	return all
}

// serveStatic serves a file.
func serveStatic(w http.ResponseWriter, r *http.Request) {
	for _, a := range assets {
		if a.address == r.URL.Path {
			w.Header().Set("Content-Type", a.kind)
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			_, _ = w.Write(a.body) // fails only if the client is gone
			return
		}
	}
	http.NotFound(w, r)
}
