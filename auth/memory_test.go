package auth_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
)

func TestARememberedTokenEndsWithItsExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newJWT(t, auth.JWT{})
		token := sign(t, jwt.SigningMethodHS256, secret(), jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Minute).Unix()})
		var together sync.WaitGroup
		for range 20 {
			together.Go(func() { wantUser(t, a, token) })
		}
		together.Wait()
		time.Sleep(time.Minute - time.Second)
		wantUser(t, a, token)
		time.Sleep(time.Second)
		wantRefused(t, a, token, switchboard.ErrUnauthenticated)
	})
}

// TestATakenBackKeyMakesItsRememberedTokensBad as soon as it would those that are not: with the next fetch, which is
// due after ten minutes, or when a token names a new key.
func TestATakenBackKeyMakesItsRememberedTokensBad(t *testing.T) {
	for _, byNewToken := range []bool{true, false} {
		former, next := newEd25519(t, "1"), newEd25519(t, "2")
		i := newIssuer(t, former)
		synctest.Test(t, func(t *testing.T) {
			a := i.login(t)
			token := former.token(t, nil, nil)
			wantUser(t, a, token)
			i.publish(t, next)
			wantUser(t, a, token) // nobody has heard of it yet
			if byNewToken {
				wantUser(t, a, next.token(t, nil, nil))
			} else {
				time.Sleep(10 * time.Minute)
			}
			wantRefused(t, a, token, switchboard.ErrUnauthenticated)
		})
	}
}

func TestAKeyOfTheSameNameIsAnother(t *testing.T) {
	former, next := newEd25519(t, "1"), newEd25519(t, "1")
	i := newIssuer(t, former)
	synctest.Test(t, func(t *testing.T) {
		a := i.login(t)
		token := former.token(t, nil, nil)
		wantUser(t, a, token)
		i.publish(t, next)
		time.Sleep(10 * time.Minute)
		wantRefused(t, a, token, switchboard.ErrUnauthenticated)
		wantUser(t, a, next.token(t, nil, nil))
	})
}
