package runs

import (
	"strings"
	"unicode"
)

// Secret reports whether a member of that name holds a secret: one of the words below is a
// whole word of it, or two words that follow each other make one. Words end where letters
// end and where capitals begin, so api_key, apiKey, APIKey, x-api-key and API_KEY_2 are
// secret, and author, keyboard and max_tokens are not.
func Secret(name string) bool {
	former := ""
	for _, word := range words(name) {
		if secretWord(word) || secretWord(former+word) {
			return true
		}
		former = word
	}
	return false
}

func secretWord(word string) bool {
	switch word {
	case "password", "passwords", "passwd", "pwd", "passphrase", "passphrases", "passcode", "passcodes",
		"secret", "secrets", "credential", "credentials", "creds", "cookie", "cookies",
		"auth", "oauth", "authorization", "authentication", "bearer", "jwt", "key", "token":
		return true
	// Lists of them: keys and tokens alone may be fields, or a count.
	case "apikeys", "accesskeys", "privatekeys", "secretkeys", "signingkeys", "encryptionkeys",
		"apitokens", "accesstokens", "refreshtokens", "sessiontokens", "bearertokens", "idtokens":
		return true
	// In one word.
	case "apikey", "accesskey", "privatekey", "secretkey", "signingkey", "encryptionkey",
		"apitoken", "accesstoken", "refreshtoken", "sessiontoken", "bearertoken", "idtoken", "clientsecret":
		return true
	}
	return false
}

// internal reports whether a member of that name is not for viewers of a result.
func internal(name string) bool {
	lower := strings.ToLower(name)
	if strings.HasPrefix(lower, "_") || strings.HasPrefix(lower, "internal") {
		return true
	}
	joined := strings.Join(words(name), " ")
	return joined == "debug info" || joined == "system prompt"
}

// words splits a name into its words, in lower case: runs of letters, which end also where
// a capital follows a small letter, and before the last of several capitals if a small
// letter follows it.
func words(name string) (words []string) {
	letters := []rune(name)
	at := func(i int, is func(rune) bool) bool { return i >= 0 && i < len(letters) && is(letters[i]) }
	from := 0
	end := func(to int) {
		if to > from {
			words = append(words, strings.ToLower(string(letters[from:to])))
		}
		from = to
	}
	for i, letter := range letters {
		switch {
		case !unicode.IsLetter(letter):
			end(i)
			from = i + 1
		case unicode.IsUpper(letter) && (at(i-1, unicode.IsLower) || at(i-1, unicode.IsUpper) && at(i+1, unicode.IsLower)):
			end(i)
		}
	}
	end(len(letters))
	return words
}
