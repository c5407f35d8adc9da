<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title><?= $escape($title) ?></title>
<link rel="stylesheet" href="<?= $escape($url('style.css')) ?>">
</head>
<body>
<header><a href="<?= $escape($url('')) ?>">A small blog</a> <a href="/">tqserver</a></header>
<main>
<?= $content /* a view has escaped it already */ ?>
</main>
</body>
</html>
