//! Statements, by what they do.

use foobar_common::mysql::{
    Operation::{self, Ddl, Other, Read, Tx, Unknown, Write},
    Statement,
};

const STATEMENTS: &[(&str, Operation)] = &[
    ("SELECT 1", Read),
    ("select", Read),
    ("  \t\r\n\x0b\x0cSeLeCt\t1", Read),
    ("((SELECT 1) UNION (SELECT 2))", Read),
    ("SELECT/**/1", Read),
    ("SELECT*FROM t", Read),
    ("SHOW TABLES", Read),
    ("DESC t", Read),
    ("DESCRIBE t", Read),
    ("EXPLAIN DELETE FROM t", Read),
    ("VALUES (1)", Read),
    ("TABLE t", Read),
    ("HANDLER t OPEN", Read),
    ("SELECTED", Other),
    ("SELECT_1", Other),
    ("DESCRIBED", Other),
    ("DESCRIBES t", Other),
    ("INSERT INTO t VALUES (1)", Write),
    ("insert/* DROP TABLE t */into t values (1)", Write),
    ("UPDATE t SET a = 1", Write),
    ("DELETE FROM t", Write),
    ("REPLACE INTO t VALUES (1)", Write),
    ("LOAD DATA LOCAL INFILE 'f' INTO TABLE t", Write),
    ("LOAD /* all */ XML INFILE 'f' INTO TABLE t", Write),
    ("LOAD INDEX INTO CACHE t", Other),
    ("LOAD", Other),
    ("CREATE TABLE t (a INT)", Ddl),
    ("ALTER TABLE t ADD b INT", Ddl),
    ("DROP TABLE t", Ddl),
    ("TRUNCATE t", Ddl),
    ("TRUNCATED t", Other),
    ("RENAME TABLE t TO u", Ddl),
    ("BEGIN", Tx),
    ("BEGIN;", Tx),
    ("BEGIN WORK", Tx),
    ("BEGIN /* a block */ NOT ATOMIC", Unknown),
    ("BEGIN NOTHING", Tx),
    ("START TRANSACTION", Tx),
    ("START TRANSACTION READ ONLY", Tx),
    ("START\nTRANSACTION;", Tx),
    ("START TRANSACTIONS", Other),
    ("START SLAVE", Other),
    ("START", Other),
    ("COMMIT", Tx),
    ("ROLLBACK TO a", Tx),
    ("SAVEPOINT a", Tx),
    ("SAVEPOIN a", Other),
    ("SAVEPOINTS a", Other),
    ("RELEASE SAVEPOINT a", Tx),
    ("XA START 'a'", Tx),
    ("WITH a AS (SELECT 1) SELECT * FROM a", Unknown),
    ("CALL p()", Unknown),
    ("EXECUTE s", Unknown),
    ("SET a = 1", Other),
    ("SET @a = 1", Other),
    ("SET STATEMENT max_statement_time = 1 FOR SELECT 1", Unknown),
    ("SET STATEMENTS = 1", Other),
    ("USE shop", Other),
    ("DO SLEEP(1)", Other),
    ("OPTIMIZE TABLE t", Other),
    ("", Other),
    (" ", Other),
    (";", Other),
    ("; SELECT 1", Read),
    ("1", Other),
    ("@a", Other),
    ("'SELECT'", Other),
    ("\u{e9}SELECT", Other),
    ("SELECT\u{e9}", Other),
    ("/* INSERT */ SELECT 1", Read),
    ("/*/ INSERT */ SELECT 1", Read),
    ("/** INSERT **/SELECT 1", Read),
    ("/* a * b / c */ /**/ DELETE FROM t", Write),
    ("/*!40101 SET NAMES utf8 */", Other),
    ("/*!50100 INSERT */ INTO t VALUES (1)", Write),
    ("/*!SELECT*/ 1", Read),
    ("/*!*/ DELETE FROM t", Write),
    ("/*M!100100 UPDATE */ t SET a = 1", Write),
    ("/*M INSERT */ SELECT 1", Read),
    ("/*M*/ SELECT 1", Read),
    ("/ SELECT 1", Other),
    ("-- INSERT\nSELECT 1", Read),
    ("--\nSELECT 1", Read),
    ("--\tINSERT\n-- UPDATE\nSELECT 1", Read),
    ("--1", Other),
    ("-1", Other),
    ("# INSERT\nSELECT 1", Read),
    ("#\nSELECT 1", Read),
    ("/* never ends SELECT 1", Other),
];

#[test]
fn a_statement_is_told_by_its_first_words() {
    for (text, operation) in STATEMENTS {
        assert_eq!(read(text.as_bytes()), *operation, "{text:?}");
    }
}

#[test]
fn a_comment_that_is_too_long_leaves_it_unknown() {
    let commented = |length: usize| format!("/*{}*/ SELECT 1", " ".repeat(length));
    assert_eq!(read(commented(4_000).as_bytes()), Read);
    assert_eq!(read(commented(4_100).as_bytes()), Unknown);
    assert_eq!(read(commented(1_000_000).as_bytes()), Unknown);
}

fn read(text: &[u8]) -> Operation {
    let mut statement = Statement::default();
    text.iter().find_map(|byte| statement.read(*byte)).unwrap_or_else(|| statement.end())
}
