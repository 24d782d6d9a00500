package server

import (
	"net"
	"testing"
)

// TestAConnectionIsAcceptedWhenItsClientSaysSomething: the one that came second, as the first is silent.
func TestAConnectionIsAcceptedWhenItsClientSaysSomething(t *testing.T) {
	ln, err := listenAt(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	silent, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	speaks, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer speaks.Close()
	if _, err := speaks.Write([]byte("GET")); err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got, want := nc.RemoteAddr().String(), speaks.LocalAddr().String(); got != want {
		t.Errorf("accepted %v, want %v, who has said something", got, want)
	}
}
