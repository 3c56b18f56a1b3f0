"""What the apps share: experiments as values, texts, preparation, the console, the end of a run."""
