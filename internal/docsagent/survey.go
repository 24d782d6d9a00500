package docsagent

import "context"

// A Survey is what somebody has to know who is about to ask.
type Survey struct {
	Files     int
	Questions []string // that the documents answer; there may be none
}

// questions are some that the project's own documents answer well.
func questions() []string {
	return []string{"What happens to a client that is slow?"}
}

// Survey reads the folder, which takes as long as it is large.
func (a *Agent) Survey(ctx context.Context) (Survey, error) {
	found, err := a.library.open.look(ctx)
	if err != nil {
		return Survey{}, err
	}
	s := Survey{Files: len(found.files)}
	if a.own {
		s.Questions = questions()
	}
	return s, nil
}
