//! Tests of the folder of moments.
