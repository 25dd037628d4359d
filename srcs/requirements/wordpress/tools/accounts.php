<?php
/**
 * The site's two users and their secrets.
 */
declare(strict_types=1);

namespace Site;

/** The variable with the user's name => the secret with the password. */
const ACCOUNTS = ['WP_ADMIN_USER' => 'wp_admin_password', 'WP_AUTHOR_USER' => 'wp_author_password'];

/** Says which passwords on the site are other ones than in the secrets; they are left as they are. */
function compare_passwords(string $site, \mysqli $database): void
{
    require_once "$site/wp-includes/class-phpass.php";
    $hasher = new \PasswordHash(8, true);
    foreach (ACCOUNTS as $variable => $secret) {
        $login = getenv($variable);
        $rows = $database->execute_query('SELECT user_pass FROM wp_users WHERE user_login = ?', [$login]);
        $hash = $rows->fetch_column();
        // With slashes, as WordPress's form adds them.
        $password = addslashes(trim((string) file_get_contents("/run/secrets/$secret")));
        // Other kinds of hash are for WordPress itself to check.
        if (is_string($hash) && str_starts_with($hash, '$P$') && !$hasher->CheckPassword($password, $hash)) {
            say("the password of $login on the site is not the one in secrets/$secret.txt, which counts at the "
                . 'first start only; to set it now: make passwords');
        }
    }
}
