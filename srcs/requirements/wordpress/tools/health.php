<?php
/**
 * Health check, run by php-fpm itself: the site's database can be read and the installation is complete.
 */
declare(strict_types=1);

require __DIR__ . '/database.php';

try {
    echo Site\is_installed(Site\connect()) ? 'healthy' : 'the site is not installed yet';
} catch (mysqli_sql_exception $error) {
    echo $error->getMessage();
}
