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

// asset is a file of the page.
type asset struct {
	address string // with a digest of its contents, so that browsers may keep it
	kind    string // media type
	body    []byte
}

// assets are the files by their names.
var assets = readAssets()

func readAssets() map[string]asset {
	all := map[string]asset{}
	for name, kind := range map[string]string{
		"admin.css": "text/css; charset=utf-8", "admin.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
	} {
		body, err := staticFiles.ReadFile("static/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		sum := sha256.Sum256(body)
		stem, ext := strings.TrimSuffix(name, path.Ext(name)), path.Ext(name)
		all[name] = asset{Path + "/static/" + stem + "." + base64.RawURLEncoding.EncodeToString(sum[:6]) + ext, kind, body}
	}
	return all
}

// static serves a file.
func (p *Pages) static(w http.ResponseWriter, r *http.Request) {
	for _, a := range assets {
		if a.address == r.URL.Path {
			w.Header().Set("Content-Type", a.kind)
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			_, _ = w.Write(a.body) // who asked has gone: nothing to do
			return
		}
	}
	http.NotFound(w, r)
}
