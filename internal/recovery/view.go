package recovery

import (
	"os"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"golang.org/x/term"
)

// View draws on file how far each step is, if it is a terminal. show is what Options.Progress wants, nil elsewhere; stop ends the
// view.
func View(file *os.File) (show func(Progress), stop func()) {
	if !term.IsTerminal(int(file.Fd())) {
		return nil, func() {}
	}
	bar := progress.NewWriter()
	bar.SetOutputWriter(file)
	bar.SetUpdateFrequency(200 * time.Millisecond)
	bar.SetStyle(progress.StyleBlocks)
	bar.SetAutoStop(false)
	v := &view{bar: bar}
	done := make(chan struct{})
	go func() {
		defer close(done)
		bar.Render()
	}()
	return v.show, func() {
		v.end()
		bar.Stop()
		<-done
	}
}

// view has one tracker at a time, of the step under way.
type view struct {
	bar progress.Writer

	mu      sync.Mutex
	step    string
	tracker *progress.Tracker
}

func (v *view) show(p Progress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tracker == nil || v.step != p.Step {
		if v.tracker != nil {
			v.tracker.MarkAsDone()
		}
		v.step, v.tracker = p.Step, &progress.Tracker{Message: p.Step}
		v.bar.AppendTracker(v.tracker)
	}
	if p.Text != "" {
		v.tracker.UpdateMessage(p.Step + " " + printable(p.Text))
	}
	v.tracker.UpdateTotal(p.Total)
	v.tracker.SetValue(p.Done)
}

func (v *view) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tracker != nil {
		v.tracker.MarkAsDone()
	}
}
