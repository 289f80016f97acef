//! The sentence that a mistake in a derive or a row gets.

#[test]
fn mistakes_get_a_sentence_that_says_what_to_do() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/message_*.rs");
    cases.compile_fail("tests/ui/states_*.rs");
    cases.compile_fail("tests/ui/call_*.rs");
    cases.compile_fail("tests/ui/timer_*.rs");
    cases.compile_fail("tests/ui/row_*.rs");
}
