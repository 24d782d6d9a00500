package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const docsFile = "../../docs/configuration.md"

func readDocs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheDocumentHasATableOfEverySetting(t *testing.T) {
	const begin, end = "-update -->\n", "<!-- end -->"
	text := readDocs(t)
	head, rest, ok := strings.Cut(text, begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the table", docsFile)
	}
	var table strings.Builder
	table.WriteString("| setting | default | |\n|---|---|---|\n")
	for _, s := range settings() {
		standard := s.tag.Get("default")
		if standard != "" {
			standard = "`" + standard + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", s.name, standard, s.tag.Get("help"))
	}
	golden(t, docsFile, []byte(head+begin+table.String()+end+tail))
}

func TestTheDocumentHasWhatAPresetSets(t *testing.T) {
	text := readDocs(t)
	standard, preset := load(t, Sources{File: file(t, good)}), load(t, Sources{File: file(t, good+"preset: netra\n")})
	found := 0
	for _, s := range settings() {
		if preset.origin[s.name] != "preset netra" {
			continue
		}
		found++
		row := fmt.Sprintf("(?m)^\\| `%s` \\| %v\\b.* \\| %v\\b", s.name, s.of(&standard.Config), s.of(&preset.Config))
		if !regexp.MustCompile(row).MatchString(text) {
			t.Errorf("%s has no row like %s", docsFile, row)
		}
	}
	if rows := strings.Count(text[strings.Index(text, "| netra |"):], "\n| `max-"); found == 0 || rows != found {
		t.Errorf("got %d rows of %d settings", rows, found)
	}
}

func TestTheExamplesOfTheDocumentWork(t *testing.T) {
	dir := t.TempDir()
	writePair(t, dir)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readDocs(t), -1)
	if len(blocks) < 3 {
		t.Fatalf("got %d examples, want 3 or more", len(blocks))
	}
	for _, b := range blocks {
		text := strings.ReplaceAll(b[1], "/etc/switchboard", dir)
		if _, err := Load(Sources{File: file(t, text)}); err != nil {
			t.Errorf("%s\n%v", b[1], err)
		}
	}
}

func TestTheDocumentNamesTheOldVariables(t *testing.T) {
	text := readDocs(t)
	for _, old := range oldNames() {
		if row := "| `" + old.variable + "` | `" + old.setting + "`"; !strings.Contains(text, row) {
			t.Errorf("%s lacks %q", docsFile, row)
		}
	}
}

// writePair writes tls.crt and tls.key.
func writePair(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: cert}, "tls.key": {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
