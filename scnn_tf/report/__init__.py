"""Results to look at: a web page, figures and subtitles."""
