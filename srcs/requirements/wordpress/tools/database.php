<?php
/**
 * The site's database, as seen before WordPress is loaded.
 */
declare(strict_types=1);

namespace Site;

/** Stands in the database while an installation is under way: tables beside it are of no use to anybody. */
const UNFINISHED = 'site_installation_unfinished';

/** MariaDB's error number for a wrong account or password. */
const ACCESS_DENIED = 1045;

final class WrongPassword extends \RuntimeException
{
}

function connect(): \mysqli
{
    $password = trim((string) file_get_contents('/run/secrets/db_password'));
    return new \mysqli('mariadb', getenv('DB_USER'), $password, getenv('DB_NAME'), (int) getenv('DB_PORT'));
}

/**
 * Connects as soon as the server answers; gives up after `$limit` seconds.
 *
 * After a reboot Docker starts all containers at once, so the server may not be there yet.
 */
function wait_for_database(int $limit): \mysqli
{
    $end = time() + $limit;
    for (;;) {
        try {
            return connect();
        } catch (\mysqli_sql_exception $error) {
            if ($error->getCode() === ACCESS_DENIED) {
                throw new WrongPassword(
                    'the password in secrets/db_password.txt is not the one the database was made with; '
                    . 'put the old one back, or set the new one with: make passwords',
                );
            }
            if (time() >= $end) {
                throw new \RuntimeException("the database does not answer: {$error->getMessage()}");
            }
            sleep(1);
        }
    }
}

/** @return list<string> */
function tables(\mysqli $database): array
{
    return array_column($database->query('SHOW TABLES')->fetch_all(), 0);
}

/** Whether an installation was completed, by this program or by whoever filled the database before. */
function is_installed(\mysqli $database): bool
{
    $tables = tables($database);
    return in_array('wp_options', $tables, true) && !in_array(UNFINISHED, $tables, true);
}
