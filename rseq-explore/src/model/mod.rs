//! Sections as their steps, under every schedule of a few threads up to a bound.
