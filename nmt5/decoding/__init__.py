"""From a source sentence to target ids: greedy, sampled or beam search over the cached decoder."""
